package io.fourfold.kernels.comm;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/** Runs one thread per rank and brings their results or failures together. */
final class RankThreads {
    private static final Duration LIMIT = Duration.ofSeconds(20);

    private RankThreads() {}

    /** What one rank does. */
    interface Body<R> {
        R run(CommunicationWorld world) throws Exception;
    }

    /** What came of one rank. */
    record Outcome<R>(@Nullable R value, @Nullable Throwable failure) {
        R result() {
            if (value == null) {
                throw new AssertionError("a rank failed", failure);
            }
            return value;
        }
    }

    /** Results by rank; the first failure is thrown. */
    static <R> List<R> run(List<? extends CommunicationWorld> worlds, Body<R> body) throws Exception {
        List<R> results = new ArrayList<>();
        for (Outcome<R> outcome : outcomes(worlds, body)) {
            results.add(outcome.result());
        }
        return results;
    }

    static <R> List<Outcome<R>> outcomes(List<? extends CommunicationWorld> worlds, Body<R> body) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(worlds.size());
        try {
            List<Future<Outcome<R>>> futures = new ArrayList<>();
            for (CommunicationWorld world : worlds) {
                futures.add(threads.submit(() -> outcome(world, body)));
            }
            List<Outcome<R>> outcomes = new ArrayList<>();
            for (Future<Outcome<R>> future : futures) {
                outcomes.add(future.get(LIMIT.toSeconds(), TimeUnit.SECONDS));
            }
            return outcomes;
        } finally {
            threads.shutdownNow();
        }
    }

    private static <R> Outcome<R> outcome(CommunicationWorld world, Body<R> body) {
        try (world) {
            return new Outcome<>(body.run(world), null);
        } catch (Throwable failure) {
            return new Outcome<>(null, failure);
        }
    }

    static List<Integer> all(int size) {
        List<Integer> ranks = new ArrayList<>();
        for (int rank = 0; rank < size; rank++) {
            ranks.add(rank);
        }
        return ranks;
    }
}
