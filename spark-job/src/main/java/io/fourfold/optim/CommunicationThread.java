package io.fourfold.optim;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/** Runs communication in the order given, on a thread of its own beside the rank's. */
final class CommunicationThread implements AutoCloseable {
    private final ExecutorService thread;
    private final List<Future<?>> pending = new ArrayList<>();

    CommunicationThread(String name) {
        thread = Executors.newSingleThreadExecutor(task -> {
            Thread made = new Thread(task, name);
            made.setDaemon(true);
            return made;
        });
    }

    void submit(Runnable communication) {
        pending.add(thread.submit(communication));
    }

    /**
     * Waits for all that was submitted.
     *
     * @throws RuntimeException the first failure; an interrupt interrupts the communication, which breaks the world
     */
    void await() {
        try {
            for (Future<?> future : pending) {
                future.get();
            }
        } catch (InterruptedException e) {
            thread.shutdownNow();
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted while gradients or weights were communicated", e);
        } catch (ExecutionException e) {
            if (e.getCause() instanceof RuntimeException failure) {
                throw failure;
            }
            if (e.getCause() instanceof Error error) {
                throw error;
            }
            throw new IllegalStateException(e.getCause());
        } finally {
            pending.clear();
        }
    }

    @Override
    public void close() {
        thread.shutdownNow();
    }
}
