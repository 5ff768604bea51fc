package io.fourfold.kernels.cuda;

import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.comm.InProcessWorld;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.IntStream;

/**
 * A group of ranks on one GPU: each a thread with a backend of its own, their collectives by way of host memory. It works
 * from {@link #open} to {@link #close}; a failed piece of work ends it.
 */
final class CudaRanks implements AutoCloseable {
    private static final Duration PATIENCE = Duration.ofSeconds(30);

    private final List<Member> members = new ArrayList<>();

    private CudaRanks() {}

    /** What one rank has to work with; tensors live until the work returns. */
    record Rank(CudaBackend backend, Communicator group, CudaTensorScope scope) {
        int index() {
            return group.rank();
        }

        Tensor floats(DType dtype, float[] values, int... dims) {
            Tensor tensor = scope.allocate(dtype, Shape.of(dims));
            backend.upload(values, tensor);
            return tensor;
        }

        Tensor ints(int... values) {
            Tensor tensor = scope.allocate(DType.INT32, values.length);
            backend.upload(values, tensor);
            return tensor;
        }
    }

    interface Work<T> {
        T run(Rank rank);
    }

    /** A rank's thread, and what that thread has opened. */
    private record Member(ExecutorService thread, CudaBackend backend, HostStagedWorld world, Communicator group) {
        static Member open(InProcessWorld host) throws Exception {
            ExecutorService thread = Executors.newSingleThreadExecutor();
            return thread.submit(() -> {
                        CudaBackend backend = new CudaBackend(0);
                        HostStagedWorld world =
                                new HostStagedWorld(backend.runtime().memory(), host);
                        List<Integer> all =
                                IntStream.range(0, host.size()).boxed().toList();
                        return new Member(thread, backend, world, world.group("part", all));
                    })
                    .get();
        }

        <T> Future<T> submit(Work<T> work) {
            return thread.submit(() -> {
                try (CudaTensorScope scope = backend.runtime().memory().scope(Region.ACTIVATIONS)) {
                    return work.run(new Rank(backend, group, scope));
                }
            });
        }
    }

    /** The GPU must exist. */
    static CudaRanks open(int ranks) throws Exception {
        CudaRanks opened = new CudaRanks();
        for (InProcessWorld host : InProcessWorld.create(ranks, PATIENCE)) {
            opened.members.add(Member.open(host));
        }
        return opened;
    }

    /** Runs the work on all ranks at once and returns their results in order. */
    <T> List<T> run(Work<T> work) throws Exception {
        List<Future<T>> futures = new ArrayList<>();
        for (Member member : members) {
            futures.add(member.submit(work));
        }
        List<T> results = new ArrayList<>();
        for (Future<T> future : futures) {
            results.add(future.get());
        }
        return results;
    }

    @Override
    public void close() throws ExecutionException, InterruptedException {
        for (Member member : members) {
            member.thread
                    .submit(() -> {
                        member.world.close();
                        member.backend.close();
                    })
                    .get();
            member.thread.shutdown();
        }
    }
}
