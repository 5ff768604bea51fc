package io.fourfold.model;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.Batch;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.CommunicationWorld;
import io.fourfold.kernels.comm.InProcessWorld;
import io.fourfold.kernels.cpu.CpuBackend;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.metrics.StepMetrics.LayerLoad;
import io.fourfold.parallel.ParallelMapping;
import io.fourfold.parallel.ProcessGroups;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/** Runs one training step of a model on N ranks, one thread each, and puts the results together as one rank would have them. */
final class RankGroup {
    /**
     * @param gradients by global tensor name, summed over the ranks that hold a part
     * @param state of rank 0 after the step
     */
    record StepResult(
            double loss,
            double auxLoss,
            double zLoss,
            long dropped,
            Map<String, float[]> gradients,
            Map<String, float[]> state,
            List<LayerLoad> load) {}

    private record RankResult(List<MicroBatchValues> values, Map<String, float[]> state, List<LayerLoad> load) {}

    private record MicroBatchValues(double loss, double aux, double z, long dropped) {}

    private RankGroup() {}

    /**
     * @param batch the global batch; rank r takes its r-th equal part, in micro-batches of the configured size
     */
    static StepResult step(FourfoldConfig config, Batch batch) throws InterruptedException {
        int ranks = config.parallel().worldSize();
        List<? extends CommunicationWorld> worlds = InProcessWorld.create(ranks);
        Map<String, float[]> gradients = new TreeMap<>();
        ExecutorService threads = Executors.newFixedThreadPool(ranks);
        try {
            List<Future<RankResult>> futures = new ArrayList<>();
            for (CommunicationWorld world : worlds) {
                futures.add(threads.submit(() -> {
                    try {
                        return rank(config, world, batch, gradients);
                    } catch (RuntimeException e) {
                        world.abort("rank " + world.rank() + " failed: " + e);
                        throw e;
                    }
                }));
            }
            return combine(batch, gradients, collect(futures));
        } finally {
            threads.shutdownNow();
            worlds.forEach(CommunicationWorld::close);
        }
    }

    private static List<RankResult> collect(List<Future<RankResult>> futures) throws InterruptedException {
        List<RankResult> results = new ArrayList<>();
        for (Future<RankResult> future : futures) {
            try {
                results.add(future.get());
            } catch (ExecutionException e) {
                throw new AssertionError("a rank failed", e.getCause());
            }
        }
        return results;
    }

    private static StepResult combine(Batch batch, Map<String, float[]> gradients, List<RankResult> results) {
        double loss = 0;
        double aux = 0;
        double z = 0;
        long dropped = 0;
        for (RankResult result : results) {
            for (MicroBatchValues values : result.values()) {
                loss += values.loss();
                aux += values.aux();
                z += values.z();
                dropped += values.dropped();
            }
        }
        RankResult first = results.get(0);
        return new StepResult(loss / batch.labelCount(), aux, z, dropped, gradients, first.state(), first.load());
    }

    private static RankResult rank(
            FourfoldConfig config, CommunicationWorld world, Batch batch, Map<String, float[]> gradients) {
        try (Backend backend = new CpuBackend(1);
                ProcessGroups groups = ProcessGroups.create(ParallelMapping.of(config.parallel()), world);
                MoeTransformer model = MoeTransformer.create(config, backend, groups)) {
            model.initialize(7);
            StepContext step = SingleRank.step(batch);
            model.beginStep(step);
            int perRank = batch.samples() / world.size();
            int size = config.train().microBatchSize();
            List<MicroBatchResult> results = new ArrayList<>();
            for (int i = 0; i < perRank; i += size) {
                Batch part = TinyModels.slice(batch, world.rank() * perRank + i, size);
                results.add(model.forwardBackward(part, step));
            }
            List<LayerLoad> load = model.endStep();
            List<MicroBatchValues> values = results.stream()
                    .map(r -> new MicroBatchValues(r.lossSum(), r.auxLoss(), r.zLoss(), r.droppedSlots()))
                    .toList();
            synchronized (gradients) {
                addGradients(backend, model.parameters(), gradients);
            }
            Map<String, float[]> state = new TreeMap<>();
            for (Map.Entry<String, Tensor> entry : model.parameters().state().entrySet()) {
                state.put(entry.getKey(), backend.download(entry.getValue()));
            }
            return new RankResult(values, state, load);
        }
    }

    private static void addGradients(Backend backend, ParameterStore store, Map<String, float[]> gradients) {
        for (Parameter parameter : store.parameters()) {
            float[] local = backend.download(parameter.grad());
            for (Piece piece : parameter.pieces()) {
                long size = 1;
                for (long dim : piece.globalShape()) {
                    size *= dim;
                }
                int elements = (int) size;
                add(piece, local, gradients.computeIfAbsent(piece.name(), name -> new float[elements]));
            }
        }
    }

    static void add(Piece piece, float[] local, float[] global) {
        long[] strides = Piece.contiguousStrides(piece.globalShape());
        for (long i = 0; i < piece.elements(); i++) {
            long rest = i;
            long from = piece.localOffset();
            long to = 0;
            for (int d = piece.extent().length - 1; d >= 0; d--) {
                long index = rest % piece.extent()[d];
                rest /= piece.extent()[d];
                from += index * piece.localStrides()[d];
                to += (piece.offset()[d] + index) * strides[d];
            }
            global[(int) to] += local[(int) from];
        }
    }
}
