package io.fourfold.kernels.cuda;

import io.fourfold.kernels.comm.CommunicationWorld;
import io.fourfold.kernels.comm.InProcessWorld;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.stream.IntStream;

/**
 * Ranks on the GPUs of this machine: rank r is a thread with GPU r and its own backend. All threads enter and leave a test
 * together, as NCCL demands of the ranks of one process.
 */
final class GpuRanks implements AutoCloseable {
    private static final long LIMIT_SECONDS = 30;

    /** One rank. */
    record Rank(int index, CudaBackend backend, CommunicationWorld host, NcclWorld world) {}

    /** What a rank does. */
    interface Body<R> {
        R run(Rank rank) throws Exception;
    }

    private final List<ExecutorService> threads = new ArrayList<>();
    private final List<Rank> ranks = new ArrayList<>();

    private GpuRanks() {}

    /** One rank for each GPU. */
    static GpuRanks open(int size) throws Exception {
        GpuRanks gpus = new GpuRanks();
        List<InProcessWorld> hosts = InProcessWorld.create(size);
        List<Future<Rank>> opened = new ArrayList<>();
        for (int i = 0; i < size; i++) {
            int index = i;
            ExecutorService thread = Executors.newSingleThreadExecutor(task -> {
                Thread made = new Thread(task, "gpu-" + index);
                made.setDaemon(true);
                return made;
            });
            gpus.threads.add(thread);
            opened.add(thread.submit(() -> {
                CudaBackend backend = new CudaBackend(index);
                return new Rank(index, backend, hosts.get(index), new NcclWorld(backend.runtime(), hosts.get(index)));
            }));
        }
        for (Future<Rank> rank : opened) {
            gpus.ranks.add(rank.get(LIMIT_SECONDS, TimeUnit.SECONDS));
        }
        return gpus;
    }

    int size() {
        return ranks.size();
    }

    List<Integer> all() {
        return IntStream.range(0, size()).boxed().toList();
    }

    /** Results by rank; the first failure is thrown, after the world was broken so that the others end, too. */
    <R> List<R> run(Body<R> body) throws Exception {
        List<Future<R>> futures = new ArrayList<>();
        for (int i = 0; i < size(); i++) {
            Rank rank = ranks.get(i);
            futures.add(threads.get(i).submit(() -> {
                try {
                    return body.run(rank);
                } catch (Exception | Error e) {
                    rank.world().abort("rank " + rank.index() + " failed: " + e);
                    throw e;
                }
            }));
        }
        List<R> results = new ArrayList<>();
        Throwable first = null;
        for (Future<R> future : futures) {
            try {
                results.add(future.get(LIMIT_SECONDS, TimeUnit.SECONDS));
            } catch (ExecutionException e) {
                first = first == null ? e.getCause() : first;
            } catch (TimeoutException e) {
                first = first == null ? e : first;
                ranks.forEach(rank -> rank.world().abort("a rank hangs"));
            }
        }
        if (first != null) {
            throw new AssertionError("a rank failed", first);
        }
        return results;
    }

    @Override
    public void close() throws Exception {
        try {
            run(rank -> {
                rank.world().close();
                rank.host().close();
                rank.backend().close();
                return true;
            });
        } finally {
            threads.forEach(ExecutorService::shutdownNow);
        }
    }
}
