package io.fourfold.bench;

import io.fourfold.config.FailureReason;
import io.fourfold.kernels.comm.CommunicationException;
import io.fourfold.kernels.comm.CommunicationWorld;
import io.fourfold.kernels.comm.InProcessWorld;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.IntFunction;

/**
 * Ranks on the devices of this machine, in one process: rank r is a thread with device r, which stay together until the end.
 * The first rank that fails breaks the world, so that the others end, too.
 */
public final class BenchRanks implements AutoCloseable {
    private static final Duration START = Duration.ofSeconds(60);
    private static final String THREAD = "rank-";
    private static final int FRAMES = 12;

    /**
     * One rank.
     *
     * @param world takes the device's tensors
     * @param host takes tensors of the CPU
     */
    public record Rank(int index, BenchDevice device, CommunicationWorld world, CommunicationWorld host) {}

    /** What a rank does, on its thread. */
    public interface Body<R> {
        R run(Rank rank) throws Exception;
    }

    private final List<ExecutorService> threads = new ArrayList<>();
    private final List<InProcessWorld> hosts;
    private final List<Rank> ranks = new ArrayList<>();
    private boolean stuck;

    private BenchRanks(int size) {
        hosts = InProcessWorld.create(size);
    }

    /**
     * @param devices opens the device of a rank, on the rank's thread
     */
    public static BenchRanks open(int size, IntFunction<BenchDevice> devices) throws InterruptedException {
        BenchRanks all = new BenchRanks(size);
        List<Future<Rank>> opened = new ArrayList<>();
        for (int i = 0; i < size; i++) {
            int index = i;
            ExecutorService thread = Executors.newSingleThreadExecutor(task -> {
                Thread made = new Thread(task, THREAD + index);
                made.setDaemon(true);
                return made;
            });
            all.threads.add(thread);
            opened.add(thread.submit(() -> {
                BenchDevice device = devices.apply(index);
                CommunicationWorld host = all.hosts.get(index);
                return new Rank(index, device, device.backend().communicating(host), host);
            }));
        }
        all.ranks.addAll(all.results(opened, START));
        return all;
    }

    public int size() {
        return threads.size();
    }

    /**
     * Results by rank.
     *
     * @throws IllegalStateException when a rank fails or needs longer than {@code limit}; the world is broken then
     */
    public <R> List<R> run(Duration limit, Body<R> body) throws InterruptedException {
        List<Future<R>> futures = new ArrayList<>();
        for (Rank rank : ranks) {
            futures.add(threads.get(rank.index()).submit(() -> {
                try {
                    return body.run(rank);
                } catch (Exception | Error e) {
                    rank.world().abort("rank " + rank.index() + " failed: " + FailureReason.of(e));
                    throw e;
                }
            }));
        }
        return results(futures, limit);
    }

    private <R> List<R> results(List<Future<R>> futures, Duration limit) throws InterruptedException {
        List<R> results = new ArrayList<>();
        Throwable first = null;
        long end = System.nanoTime() + limit.toNanos();
        for (Future<R> future : futures) {
            try {
                results.add(future.get(Math.max(1, end - System.nanoTime()), TimeUnit.NANOSECONDS));
            } catch (ExecutionException e) {
                // What another rank broke is a consequence: the cause is what failed without it.
                boolean consequence = e.getCause() instanceof CommunicationException;
                first = first == null || first instanceof CommunicationException && !consequence ? e.getCause() : first;
            } catch (TimeoutException e) {
                stuck = true;
                String places = places();
                ranks.forEach(rank -> rank.world().abort("a rank did not end within " + limit.toSeconds() + " s"));
                first = first == null ? new IllegalStateException("no end within " + limit + places, e) : first;
            }
        }
        if (first != null) {
            throw new IllegalStateException("a rank failed: " + FailureReason.of(first), first);
        }
        return results;
    }

    /** Where the ranks' threads are. */
    private String places() {
        StringBuilder text = new StringBuilder();
        Thread.getAllStackTraces().forEach((thread, frames) -> {
            if (thread.getName().startsWith(THREAD)) {
                text.append("; ").append(thread.getName()).append(" at ");
                for (int i = 0; i < Math.min(FRAMES, frames.length); i++) {
                    text.append(i == 0 ? "" : " < ").append(frames[i]);
                }
            }
        });
        return text.toString();
    }

    /** Leaves devices as they are when a rank is stuck: they would wait for it. */
    @Override
    public void close() throws InterruptedException {
        if (stuck) {
            threads.forEach(ExecutorService::shutdownNow);
            return;
        }
        try {
            List<Boolean> unused = run(START, rank -> {
                rank.world().close();
                rank.host().close();
                rank.device().close();
                return true;
            });
        } finally {
            threads.forEach(ExecutorService::shutdownNow);
        }
    }
}
