package io.fourfold.model;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.bench.BenchRanks;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.Batch;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.CommunicationWorld;
import io.fourfold.kernels.comm.InProcessWorld;
import io.fourfold.kernels.cpu.CpuBackend;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.metrics.StepMetrics.LayerLoad;
import io.fourfold.optim.GradientNorm;
import io.fourfold.optim.ShardedAdamW;
import io.fourfold.parallel.Axis;
import io.fourfold.parallel.ParallelMapping;
import io.fourfold.parallel.ProcessGroups;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.function.Function;

/** Runs one training step of a model on N ranks, one thread each, and puts the results together as one rank would have them. */
final class RankGroup {
    /**
     * @param gradients by global tensor name, summed over the ranks that hold a part
     * @param weights after the optimizer step, by global tensor name
     * @param state of all stages after the step
     */
    record StepResult(
            double loss,
            double auxLoss,
            double zLoss,
            long dropped,
            double gradientNorm,
            Map<String, float[]> gradients,
            Map<String, float[]> weights,
            Map<String, float[]> state,
            List<LayerLoad> load) {}

    private record RankResult(
            List<MicroBatchValues> values, double gradientNorm, Map<String, float[]> state, List<LayerLoad> load) {}

    private record MicroBatchValues(double loss, double aux, double z, long dropped) {}

    private static final double LEARNING_RATE = 0.01;
    private static final Duration LIMIT = Duration.ofSeconds(20);

    private RankGroup() {}

    /**
     * @param batch the global batch; data parallel rank r takes its r-th equal part, in micro-batches of the configured
     *     size
     */
    static StepResult step(FourfoldConfig config, Batch batch) throws InterruptedException {
        return step(config, batch, SingleRank.step(batch));
    }

    /**
     * @param step of the whole global batch
     */
    static StepResult step(FourfoldConfig config, Batch batch, StepContext step) throws InterruptedException {
        return step(config, batch, step, world -> new Devices(new CpuBackend(1), world));
    }

    /** What a rank computes and communicates with. */
    record Devices(Backend backend, CommunicationWorld world) {}

    /**
     * The same on other devices than the CPU's usual ones.
     *
     * @param devices of each rank, from its world
     */
    static StepResult step(
            FourfoldConfig config, Batch batch, StepContext step, Function<CommunicationWorld, Devices> devices)
            throws InterruptedException {
        int ranks = config.parallel().worldSize();
        List<? extends CommunicationWorld> worlds = InProcessWorld.create(ranks);
        Map<String, float[]> gradients = new TreeMap<>();
        Map<String, float[]> weights = new TreeMap<>();
        ExecutorService threads = Executors.newFixedThreadPool(ranks);
        try {
            List<Future<RankResult>> futures = new ArrayList<>();
            for (CommunicationWorld world : worlds) {
                futures.add(threads.submit(() -> {
                    Devices own = devices.apply(world);
                    try (Backend backend = own.backend()) {
                        return rank(config, backend, own.world(), batch, step, gradients, weights);
                    } catch (RuntimeException e) {
                        world.abort("rank " + world.rank() + " failed: " + e);
                        throw e;
                    }
                }));
            }
            return combine(batch, gradients, weights, collect(futures));
        } finally {
            threads.shutdownNow();
            worlds.forEach(CommunicationWorld::close);
        }
    }

    /**
     * The same on devices that are there already.
     *
     * @param ranks as many as the configuration's
     */
    static StepResult step(BenchRanks ranks, FourfoldConfig config, Batch batch, StepContext step)
            throws InterruptedException {
        Map<String, float[]> gradients = new TreeMap<>();
        Map<String, float[]> weights = new TreeMap<>();
        List<RankResult> results = ranks.run(
                LIMIT, rank -> rank(config, rank.device().backend(), rank.world(), batch, step, gradients, weights));
        return combine(batch, gradients, weights, results);
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

    private static StepResult combine(
            Batch batch, Map<String, float[]> gradients, Map<String, float[]> weights, List<RankResult> results) {
        double loss = 0;
        double aux = 0;
        double z = 0;
        long dropped = 0;
        Map<String, float[]> state = new TreeMap<>();
        Map<Integer, LayerLoad> load = new TreeMap<>();
        for (RankResult result : results) {
            for (MicroBatchValues values : result.values()) {
                loss += values.loss();
                aux += values.aux();
                z += values.z();
                dropped += values.dropped();
            }
            result.load().forEach(layer -> load.put(layer.layer(), layer));
            result.state()
                    .forEach((name, values) -> assertThat(state.getOrDefault(name, values))
                            .as("%s is the same on every rank", name)
                            .isEqualTo(values));
            state.putAll(result.state());
        }
        return new StepResult(
                loss / batch.labelCount(),
                aux,
                z,
                dropped,
                results.get(0).gradientNorm(),
                gradients,
                weights,
                state,
                List.copyOf(load.values()));
    }

    private static RankResult rank(
            FourfoldConfig config,
            Backend backend,
            CommunicationWorld world,
            Batch batch,
            StepContext step,
            Map<String, float[]> gradients,
            Map<String, float[]> weights) {
        ParallelMapping mapping = ParallelMapping.of(config.parallel());
        try (ProcessGroups groups = ProcessGroups.create(mapping, world);
                MoeTransformer model = MoeTransformer.create(config, backend, groups);
                ShardedAdamW optimizer = new ShardedAdamW(
                        backend,
                        model.parameters(),
                        config.train().optimizer(),
                        config.parallel().gradients(),
                        groups)) {
            model.listen(optimizer.listener());
            model.initialize(7);
            model.beginStep(step);
            int perRank = batch.samples() / mapping.data();
            int first = mapping.coordinate(Axis.DP, world.rank()) * perRank;
            int size = config.train().microBatchSize();
            List<Batch> microBatches = new ArrayList<>();
            for (int i = 0; i < perRank; i += size) {
                microBatches.add(TinyModels.slice(batch, first + i, size));
            }
            List<MicroBatchResult> results = model.forwardBackward(microBatches, step);
            List<MicroBatchValues> values = results.stream()
                    .map(r -> new MicroBatchValues(r.lossSum(), r.auxLoss(), r.zLoss(), r.droppedSlots()))
                    .toList();
            synchronized (gradients) {
                addGradients(backend, model.parameters(), gradients);
            }
            optimizer.reduceGradients();
            GradientNorm norm = optimizer.gradientNorm();
            optimizer.step(1, LEARNING_RATE, norm);
            List<LayerLoad> load = model.endStep();
            synchronized (weights) {
                putWeights(backend, model.parameters(), optimizer, weights);
            }
            Map<String, float[]> state = new TreeMap<>();
            for (Map.Entry<String, Tensor> entry : model.parameters().state().entrySet()) {
                state.put(entry.getKey(), backend.download(entry.getValue()));
            }
            return new RankResult(values, norm.value(), state, load);
        }
    }

    private static void addGradients(Backend backend, ParameterStore store, Map<String, float[]> gradients) {
        for (Parameter parameter : store.parameters()) {
            if (parameter.copy()) {
                continue; // its gradient is the embedding's
            }
            float[] local = backend.download(parameter.grad());
            for (Piece piece : parameter.pieces()) {
                float[] global = gradients.computeIfAbsent(piece.name(), name -> new float[elements(piece)]);
                forEach(piece, (from, to) -> global[to] += local[from]);
            }
        }
    }

    /** Puts the pieces together; replicas must agree bit for bit. Of split masters, the BF16 part and the whole. */
    private static void putWeights(
            Backend backend, ParameterStore store, ShardedAdamW optimizer, Map<String, float[]> weights) {
        for (Parameter parameter : store.parameters()) {
            put(parameter, "", backend.download(parameter.weight()), weights);
            if (parameter.weight().dtype() == DType.BF16) {
                put(parameter, " in FP32", own(backend, parameter, optimizer), weights);
            }
        }
    }

    /** A parameter's FP32 values as far as this rank keeps them, NaN elsewhere. */
    private static float[] own(Backend backend, Parameter parameter, ShardedAdamW optimizer) {
        float[] local = new float[(int) parameter.elements()];
        Arrays.fill(local, Float.NaN);
        for (Sharding.Slice slice : optimizer.slices(parameter.kind())) {
            long from = Math.max(slice.from(), parameter.offset());
            long to = Math.min(slice.to(), parameter.offset() + parameter.elements());
            if (from < to) {
                float[] part = optimizer
                        .weights(parameter.kind())
                        .download(backend, slice.at() + from - slice.from(), (int) (to - from));
                System.arraycopy(part, 0, local, (int) (from - parameter.offset()), part.length);
            }
        }
        return local;
    }

    private static void put(Parameter parameter, String what, float[] local, Map<String, float[]> weights) {
        for (Piece piece : parameter.pieces()) {
            float[] global = weights.computeIfAbsent(piece.name() + what, name -> {
                float[] unset = new float[elements(piece)];
                Arrays.fill(unset, Float.NaN);
                return unset;
            });
            forEach(piece, (from, to) -> {
                if (Float.isNaN(local[from])) {
                    return;
                }
                if (!Float.isNaN(global[to]) && global[to] != local[from]) {
                    throw new AssertionError(
                            "replicas of " + piece.name() + " differ: " + global[to] + " and " + local[from]);
                }
                global[to] = local[from];
            });
        }
    }

    static void add(Piece piece, float[] local, float[] global) {
        forEach(piece, (from, to) -> global[to] += local[from]);
    }

    private static int elements(Piece piece) {
        return Math.toIntExact(Arrays.stream(piece.globalShape()).reduce(1, (a, b) -> a * b));
    }

    private interface ElementPair {
        void accept(int local, int global);
    }

    private static void forEach(Piece piece, ElementPair pair) {
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
            pair.accept((int) from, (int) to);
        }
    }
}
