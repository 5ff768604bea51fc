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
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.IntStream;

/** Ranks as threads with a backend each on the same GPU, whose collectives go through host memory: a group on one GPU. */
final class CudaRanks {
    private static final Duration PATIENCE = Duration.ofSeconds(30);

    private CudaRanks() {}

    /** What one rank has to work with. */
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

    /** The results of all ranks, in order. The GPU must exist. */
    static <T> List<T> run(int ranks, Work<T> work) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(ranks);
        List<Integer> all = IntStream.range(0, ranks).boxed().toList();
        try {
            List<Future<T>> futures = new ArrayList<>();
            for (InProcessWorld host : InProcessWorld.create(ranks, PATIENCE)) {
                futures.add(threads.submit(() -> {
                    try (CudaBackend backend = new CudaBackend(0);
                            HostStagedWorld world =
                                    new HostStagedWorld(backend.runtime().memory(), host);
                            CudaTensorScope scope = backend.runtime().memory().scope(Region.ACTIVATIONS)) {
                        return work.run(new Rank(backend, world.group("part", all), scope));
                    }
                }));
            }
            List<T> results = new ArrayList<>();
            for (Future<T> future : futures) {
                results.add(future.get());
            }
            return results;
        } finally {
            threads.shutdownNow();
        }
    }
}
