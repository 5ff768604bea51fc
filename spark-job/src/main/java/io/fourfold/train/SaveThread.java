package io.fourfold.train;

import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.jspecify.annotations.Nullable;

/** Runs the work of a rank's saves one after the other: behind the training, or at once where it is called. */
final class SaveThread implements AutoCloseable {
    private static final long CLOSE_SECONDS = 30;

    private final @Nullable ExecutorService executor;

    /**
     * @param background false: {@link #run} returns when the work is done
     */
    SaveThread(boolean background, int rank) {
        executor = !background
                ? null
                : Executors.newSingleThreadExecutor(work -> {
                    Thread thread = new Thread(work, "fourfold-checkpoint-" + rank);
                    thread.setDaemon(true);
                    return thread;
                });
    }

    <T> FutureTask<T> run(Callable<T> work) {
        if (executor == null) {
            return here(work);
        }
        FutureTask<T> task = new FutureTask<>(work);
        executor.execute(task);
        return task;
    }

    /** Does the work at once, in the calling thread. */
    static <T> FutureTask<T> here(Callable<T> work) {
        FutureTask<T> task = new FutureTask<>(work);
        task.run();
        return task;
    }

    /** Waits for the work; its failure is an {@link ExecutionException}. */
    static <T> T await(FutureTask<T> task) throws ExecutionException {
        try {
            return task.get();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new TrainingException(
                    TrainingException.Code.TRAIN_LAUNCH,
                    "the run was cancelled while it waited for a checkpoint to be written. Run the same command to"
                            + " continue from the last complete one.",
                    e);
        }
    }

    /**
     * Cancels what is still being written. Waits a while, so that nothing of this attempt writes when the next one begins.
     *
     * @param first work to let end before the rest is cancelled, or null
     */
    void close(@Nullable FutureTask<?> first) {
        if (executor == null) {
            return;
        }
        try {
            if (first != null) {
                first.get(CLOSE_SECONDS, TimeUnit.SECONDS);
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        } catch (ExecutionException | TimeoutException e) {
            // Whoever waited for this work has ended, and a checkpoint without its marker does not count.
        }
        close();
    }

    @Override
    public void close() {
        if (executor == null) {
            return;
        }
        executor.shutdownNow();
        try {
            boolean unused = executor.awaitTermination(CLOSE_SECONDS, TimeUnit.SECONDS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
