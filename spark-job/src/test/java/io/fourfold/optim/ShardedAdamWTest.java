package io.fourfold.optim;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.fourfold.config.TrainConfig.OptimizerConfig;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.comm.InProcessWorld;
import io.fourfold.kernels.cpu.CpuBackend;
import io.fourfold.kernels.numeric.SplitFloat;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.model.Parameter;
import io.fourfold.model.ParameterStore;
import io.fourfold.model.Piece;
import io.fourfold.model.Sharding;
import io.fourfold.model.WeightMagnitudes;
import io.fourfold.train.Ranks;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * A dense matrix [5, 3] and norm [3] that all ranks replicate, and two experts [2, 4], one on each rank when there are two
 * and EP is 2. Gradients are integers over powers of two, so that sums are exact in any order.
 */
class ShardedAdamWTest {
    private static final OptimizerConfig CONFIG = new OptimizerConfig(0.1, 0, 0.9, 0.95, 1e-8, 0.1, 1.0);
    private static final int MATRIX = 15;
    private static final int NORM = 3;
    private static final int EXPERT = 8;
    private static final double LEARNING_RATE = 0.01;

    /** Weights after two steps (matrix, norm, expert 0, expert 1), and the first norm. */
    private record Result(float[] dense, float[][] experts, double norm) {}

    @Test
    void followsTheFormula() {
        Result result = run(1, 1, CONFIG);
        double sum = 0;
        for (int i = 0; i < MATRIX + NORM; i++) {
            sum += square(denseGradient(i));
        }
        for (int e = 0; e < 2; e++) {
            for (int i = 0; i < EXPERT; i++) {
                sum += square(expertGradient(e, i));
            }
        }
        assertThat(result.norm()).isCloseTo(Math.sqrt(sum), within(1e-5));
        double clip = 1 / Math.sqrt(sum);
        for (int i = 0; i < MATRIX + NORM; i++) {
            double expected = reference(denseWeight(i), denseGradient(i) * clip, i < MATRIX);
            assertThat((double) result.dense()[i]).as("dense %d", i).isCloseTo(expected, within(2e-6));
        }
        double expected = reference(expertWeight(1, 2), expertGradient(1, 2) * clip, true);
        assertThat((double) result.experts()[1][2]).isCloseTo(expected, within(2e-6));
    }

    @Test
    void shardsAndExpertPlacementChangeNothing() {
        Result alone = run(1, 1, CONFIG);
        for (int[] mapping : new int[][] {{2, 1}, {2, 2}, {4, 1}, {4, 2}}) {
            Result result = run(mapping[0], mapping[1], CONFIG);
            assertThat(result.norm()).isCloseTo(alone.norm(), within(1e-6));
            for (int i = 0; i < MATRIX + NORM; i++) {
                assertThat(result.dense()[i]).isCloseTo(alone.dense()[i], within(1e-6f));
            }
            for (int e = 0; e < 2; e++) {
                for (int i = 0; i < EXPERT; i++) {
                    assertThat(result.experts()[e][i]).isCloseTo(alone.experts()[e][i], within(1e-6f));
                }
            }
        }
    }

    @Test
    void withoutClippingTheNormIsStillReported() {
        OptimizerConfig free = new OptimizerConfig(0.1, 0, 0.9, 0.95, 1e-8, 0.1, 0);
        Result result = run(1, 1, free);
        assertThat(result.norm()).isEqualTo(run(1, 1, CONFIG).norm());
        assertThat((double) result.dense()[4])
                .isCloseTo(reference(denseWeight(4), denseGradient(4), true), within(2e-6));
    }

    @Test
    void aNonFiniteGradientIsNamedAndNotApplied() {
        Ranks.run(2, world -> {
            try (CpuBackend backend = new CpuBackend(1);
                    ParameterStore store = store(backend, 2, List.of(0, 1), 2);
                    ShardedAdamW optimizer = optimizer(backend, store, world, List.of(world.rank()), CONFIG)) {
                fill(backend, store, world, 2, List.of(0, 1));
                if (world.rank() == 1) {
                    backend.upload(
                            new float[] {1, Float.POSITIVE_INFINITY, 1},
                            store.get("norm").grad());
                }
                optimizer.reduceGradients();
                GradientNorm norm = optimizer.gradientNorm();
                assertThat(norm.isFinite()).isFalse();
                // The norm lies in the second rank's shard.
                assertThat(norm.nonFinite()).isEqualTo(world.rank() == 1 ? "norm" : null);
                assertThatThrownBy(() -> optimizer.step(1, LEARNING_RATE, norm))
                        .isInstanceOf(IllegalArgumentException.class);
                return 0;
            }
        });
    }

    @Test
    void aBufferThatDoesNotSplitIsRefused() {
        Ranks.run(2, world -> {
            try (CpuBackend backend = new CpuBackend(1);
                    ParameterStore store = new ParameterStore.Builder()
                            .declare("w", Parameter.Kind.DENSE, Shape.of(3), true, List.of(Piece.whole("w", 0, 3)))
                            .build(backend, Map.of())) {
                assertThatThrownBy(() -> optimizer(backend, store, world, List.of(world.rank()), CONFIG))
                        .isInstanceOf(IllegalArgumentException.class)
                        .hasMessageContaining("does not split over 2");
                return 0;
            }
        });
    }

    /** Masters of each rank, put together, and the BF16 weights that every rank must have whole. */
    @ParameterizedTest
    @ValueSource(ints = {1, 2, 4})
    void splitMastersHaveTheBitsOfWholeOnes(int ranks) {
        float[] whole = masters(ranks, false, Long.MAX_VALUE);
        assertThat(masters(ranks, true, Long.MAX_VALUE)).containsExactly(whole);
    }

    /** Shards of one to sixteen slices, which cut the matrix, the norm and the padding. */
    @ParameterizedTest
    @ValueSource(ints = {1, 4, 7, 12, 16, 30})
    void theBucketsChangeNothing(int bucketElements) {
        for (int ranks : new int[] {2, 4}) {
            float[] contiguous = masters(ranks, false, Long.MAX_VALUE);
            assertThat(masters(ranks, false, bucketElements)).containsExactly(contiguous);
            assertThat(masters(ranks, true, bucketElements)).containsExactly(contiguous);
        }
    }

    private static float[] masters(int ranks, boolean split, long bucketElements) {
        int padded = (int) ParameterStore.padded(MATRIX + NORM, ranks);
        float[] masters = new float[padded];
        List<float[]> weights = Ranks.run(ranks, world -> {
            List<Integer> all = IntStream.range(0, ranks).boxed().toList();
            Communicator group = world.group("all", all);
            Map<Parameter.Kind, Communicator> replicas =
                    Map.of(Parameter.Kind.DENSE, group, Parameter.Kind.REPLICATED, group, Parameter.Kind.EXPERT, group);
            ParameterStore.Builder builder = new ParameterStore.Builder()
                    .buckets(bucketElements)
                    .declare("w", Parameter.Kind.DENSE, Shape.of(5, 3), true, List.of(Piece.whole("w", 0, 5, 3)))
                    .declare("norm", Parameter.Kind.DENSE, Shape.of(3), false, List.of(Piece.whole("norm", 0, 3)));
            try (CpuBackend backend = new CpuBackend(1);
                    ParameterStore store = (split ? builder.splitMasters() : builder)
                            .build(backend, Map.of(Parameter.Kind.DENSE, padded), replicas);
                    ShardedAdamW optimizer = new ShardedAdamW(backend, store, CONFIG, replicas, group)) {
                store.setWeights(backend, store.get("w"), 0, values(MATRIX, i -> Math.sin(i)));
                store.setWeights(backend, store.get("norm"), 0, values(NORM, i -> Math.cos(i)));
                for (int step = 1; step <= 3; step++) {
                    fill(backend, store, world, ranks, List.of());
                    optimizer.reduceGradients();
                    optimizer.step(step, LEARNING_RATE, optimizer.gradientNorm());
                }
                float[] own = optimizer.weights(Parameter.Kind.DENSE).download(backend);
                synchronized (masters) {
                    for (Sharding.Slice slice : optimizer.slices(Parameter.Kind.DENSE)) {
                        int length = (int) slice.elements();
                        System.arraycopy(own, (int) slice.at(), masters, (int) slice.from(), length);
                    }
                }
                return backend.download(store.flatWeights(Parameter.Kind.DENSE));
            }
        });
        for (float[] seen : weights) {
            for (int i = 0; i < padded; i++) {
                assertThat(seen[i]).isEqualTo(split ? SplitFloat.head(masters[i]) : masters[i]);
            }
        }
        return masters;
    }

    /** A matrix, a norm and two stacked experts: what the update told is what is there, until somebody else writes. */
    @Test
    void tellsTheLargestMagnitudesOfTheWeights() {
        Ranks.run(1, world -> {
            ParameterStore.Builder builder = new ParameterStore.Builder()
                    .keepWeightMagnitudes()
                    .declare("w", Parameter.Kind.DENSE, Shape.of(5, 3), true, List.of(Piece.whole("w", 0, 5, 3)))
                    .declare("norm", Parameter.Kind.DENSE, Shape.of(3), false, List.of(Piece.whole("norm", 0, 3)))
                    .declare(
                            "e", Parameter.Kind.EXPERT, Shape.of(2, 2, 4), true, List.of(Piece.whole("e", 0, 2, 2, 4)));
            try (CpuBackend backend = new CpuBackend(1);
                    ParameterStore store = builder.build(backend, Map.of(Parameter.Kind.DENSE, 16));
                    ShardedAdamW optimizer = optimizer(backend, store, world, List.of(0), CONFIG)) {
                WeightMagnitudes magnitudes = store.weightMagnitudes();
                Parameter matrix = store.get("w");
                Parameter experts = store.get("e");
                store.setWeights(backend, matrix, 0, values(MATRIX, ShardedAdamWTest::denseWeight));
                store.setWeights(backend, experts, 0, values(2 * EXPERT, i -> expertWeight(i / EXPERT, i % EXPERT)));
                assertThat(magnitudes.of(matrix)).isNull();
                for (int step = 1; step <= 3; step++) {
                    fill(backend, store, world, 1, List.of());
                    optimizer.reduceGradients();
                    optimizer.step(step, LEARNING_RATE, optimizer.gradientNorm());
                    assertThat(backend.download(Objects.requireNonNull(magnitudes.of(matrix))))
                            .containsExactly(largest(backend.download(matrix.weight()), 0, MATRIX));
                    float[] stacked = backend.download(experts.weight());
                    assertThat(backend.download(Objects.requireNonNull(magnitudes.of(experts))))
                            .containsExactly(largest(stacked, 0, EXPERT), largest(stacked, EXPERT, 2 * EXPERT));
                }
                store.setWeights(backend, matrix, 2, new float[] {100});
                assertThat(magnitudes.of(matrix)).isNull();
                assertThat(magnitudes.of(experts)).isNotNull();
                optimizer.gatherWeights();
                assertThat(magnitudes.of(experts)).isNull();
                return 0;
            }
        });
    }

    private static float largest(float[] values, int from, int to) {
        float largest = 0;
        for (int i = from; i < to; i++) {
            largest = Math.max(largest, Math.abs(values[i]));
        }
        return largest;
    }

    private static Result run(int ranks, int expertParallel, OptimizerConfig config) {
        List<Result> results = Ranks.run(ranks, world -> {
            int group = world.rank() % expertParallel;
            List<Integer> experts = expertParallel == 1 ? List.of(0, 1) : List.of(group);
            List<Integer> replicas = IntStream.range(0, ranks)
                    .filter(rank -> rank % expertParallel == group)
                    .boxed()
                    .toList();
            try (CpuBackend backend = new CpuBackend(1);
                    ParameterStore store = store(backend, ranks, experts, replicas.size());
                    ShardedAdamW optimizer = optimizer(backend, store, world, replicas, config)) {
                double first = 0;
                for (int step = 1; step <= 2; step++) {
                    if (step == 1) {
                        fillWeights(backend, store, experts);
                    }
                    fill(backend, store, world, ranks, experts);
                    optimizer.reduceGradients();
                    GradientNorm norm = optimizer.gradientNorm();
                    first = step == 1 ? norm.value() : first;
                    optimizer.step(step, LEARNING_RATE, norm);
                }
                float[][] weights = new float[2][];
                for (int e : experts) {
                    weights[e] = backend.download(store.get("expert" + e).weight());
                }
                return new Result(backend.download(store.flatWeights(Parameter.Kind.DENSE)), weights, first);
            }
        });
        for (Result result : results) {
            assertThat(result.norm()).isEqualTo(results.get(0).norm());
            assertThat(result.dense()).containsExactly(results.get(0).dense());
        }
        float[][] experts = {
            results.get(0).experts()[0],
            results.get(ranks > 1 && expertParallel == 2 ? 1 : 0).experts()[1]
        };
        return new Result(results.get(0).dense(), experts, results.get(0).norm());
    }

    private static ParameterStore store(CpuBackend backend, int ranks, List<Integer> experts, int replicas) {
        ParameterStore.Builder builder = new ParameterStore.Builder()
                .declare("w", Parameter.Kind.DENSE, Shape.of(5, 3), true, List.of(Piece.whole("w", 0, 5, 3)))
                .declare("norm", Parameter.Kind.DENSE, Shape.of(3), false, List.of(Piece.whole("norm", 0, 3)));
        for (int e : experts) {
            Piece piece =
                    new Piece("experts", new long[] {2, 8}, new long[] {e, 0}, new long[] {1, 8}, 0, new long[] {8, 1});
            builder.declare("expert" + e, Parameter.Kind.EXPERT, Shape.of(8), true, List.of(piece));
        }
        return builder.build(backend, Map.of(Parameter.Kind.DENSE, ranks, Parameter.Kind.EXPERT, replicas));
    }

    private static ShardedAdamW optimizer(
            CpuBackend backend,
            ParameterStore store,
            InProcessWorld world,
            List<Integer> expertReplicas,
            OptimizerConfig config) {
        List<Integer> all = IntStream.range(0, world.size()).boxed().toList();
        Communicator everyone = world.group("world", all);
        Communicator dense = world.group("dense", all);
        Communicator experts = world.group("experts", expertReplicas);
        return new ShardedAdamW(
                backend,
                store,
                config,
                Map.of(Parameter.Kind.DENSE, dense, Parameter.Kind.REPLICATED, dense, Parameter.Kind.EXPERT, experts),
                everyone);
    }

    private static void fillWeights(CpuBackend backend, ParameterStore store, List<Integer> experts) {
        backend.upload(values(MATRIX, i -> denseWeight(i)), store.get("w").weight());
        backend.upload(
                values(NORM, i -> denseWeight(MATRIX + i)), store.get("norm").weight());
        for (int e : experts) {
            backend.upload(
                    values(EXPERT, i -> expertWeight(e, i)),
                    store.get("expert" + e).weight());
        }
    }

    /** Each rank contributes an equal part of the gradient; experts get theirs from as many ranks as hold them. */
    private static void fill(
            CpuBackend backend, ParameterStore store, InProcessWorld world, int ranks, List<Integer> experts) {
        int holders = ranks * experts.size() / 2;
        backend.upload(
                values(MATRIX, i -> denseGradient(i) / world.size()),
                store.get("w").grad());
        backend.upload(
                values(NORM, i -> denseGradient(MATRIX + i) / world.size()),
                store.get("norm").grad());
        for (int e : experts) {
            backend.upload(
                    values(EXPERT, i -> expertGradient(e, i) / Math.max(1, holders)),
                    store.get("expert" + e).grad());
        }
    }

    private interface Values {
        double at(int i);
    }

    private static float[] values(int count, Values values) {
        float[] out = new float[count];
        for (int i = 0; i < count; i++) {
            out[i] = (float) values.at(i);
        }
        return out;
    }

    private static double denseWeight(int i) {
        return (i - 7) / 4.0;
    }

    private static double denseGradient(int i) {
        return ((i * 5) % 7 - 3) / 2.0;
    }

    private static double expertWeight(int e, int i) {
        return (e + 1) * (i - 3) / 8.0;
    }

    private static double expertGradient(int e, int i) {
        return (e * 3 + i - 5) / 4.0;
    }

    private static double square(double x) {
        return x * x;
    }

    /** Two AdamW steps with the same gradient, in FP64. */
    private static double reference(double weight, double gradient, boolean decay) {
        double m = 0;
        double v = 0;
        double w = weight;
        for (int step = 1; step <= 2; step++) {
            m = 0.9 * m + 0.1 * gradient;
            v = 0.95 * v + 0.05 * gradient * gradient;
            double mHat = m / (1 - Math.pow(0.9, step));
            double vHat = v / (1 - Math.pow(0.95, step));
            w -= LEARNING_RATE * (mHat / (Math.sqrt(vHat) + 1e-8) + (decay ? 0.1 * w : 0));
        }
        return w;
    }
}
