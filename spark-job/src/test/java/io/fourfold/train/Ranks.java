package io.fourfold.train;

import io.fourfold.kernels.comm.InProcessWorld;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.jspecify.annotations.Nullable;

/** Runs ranks as threads. */
public final class Ranks {
    private Ranks() {}

    /** The work of one rank. */
    @FunctionalInterface
    public interface Work<T> {
        T run(InProcessWorld world) throws Exception;
    }

    /** How a rank ended: exactly one is not null. */
    public record Outcome<T>(@Nullable T value, @Nullable Throwable failure) {}

    /** Results by rank; the first failing rank's exception, unchecked, if one fails. */
    public static <T> List<T> run(int size, Work<T> work) {
        List<T> values = new ArrayList<>();
        for (Outcome<T> outcome : outcomes(size, work)) {
            if (outcome.failure() instanceof RuntimeException e) {
                throw e;
            }
            if (outcome.failure() != null) {
                throw new IllegalStateException(outcome.failure());
            }
            values.add(Objects.requireNonNull(outcome.value()));
        }
        return values;
    }

    public static <T> List<Outcome<T>> outcomes(int size, Work<T> work) {
        ExecutorService threads = Executors.newFixedThreadPool(size);
        try {
            List<Future<T>> futures = new ArrayList<>();
            for (InProcessWorld world : InProcessWorld.create(size)) {
                futures.add(threads.submit(() -> work.run(world)));
            }
            List<Outcome<T>> outcomes = new ArrayList<>();
            for (Future<T> future : futures) {
                try {
                    outcomes.add(new Outcome<>(future.get(), null));
                } catch (ExecutionException e) {
                    outcomes.add(new Outcome<>(null, e.getCause()));
                } catch (InterruptedException e) {
                    throw new IllegalStateException(e);
                }
            }
            return outcomes;
        } finally {
            threads.shutdownNow();
        }
    }
}
