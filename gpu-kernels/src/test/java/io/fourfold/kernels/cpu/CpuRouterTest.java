package io.fourfold.kernels.cpu;

import static io.fourfold.kernels.cpu.OperationFixture.assertClose;
import static io.fourfold.kernels.cpu.OperationFixture.differences;
import static io.fourfold.kernels.cpu.OperationFixture.dot;
import static io.fourfold.kernels.cpu.OperationFixture.doubles;
import static io.fourfold.kernels.cpu.OperationFixture.plus;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.fourfold.kernels.op.MoeOps;
import io.fourfold.kernels.op.RouterSpec;
import io.fourfold.kernels.op.RouterSpec.Score;
import io.fourfold.kernels.tensor.DType;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

final class CpuRouterTest {
    private final OperationFixture fixture = new OperationFixture(4);
    private final MoeOps ops = fixture.backend.moe();

    @AfterEach
    void close() {
        fixture.close();
    }

    static Stream<RouterSpec> specs() {
        List<RouterSpec> specs = new ArrayList<>();
        for (Score score : Score.values()) {
            for (boolean normalize : new boolean[] {false, true}) {
                specs.add(new RouterSpec(8, 2, score, normalize, 1, 1, 1f));
                specs.add(new RouterSpec(12, 4, score, normalize, 4, 2, 2.5f));
                specs.add(new RouterSpec(5, 1, score, normalize, 1, 1, 0.5f));
                specs.add(new RouterSpec(4, 4, score, normalize, 1, 1, 1f));
            }
        }
        return specs.stream();
    }

    /** Inputs and outputs of one routing call. */
    private final class Routing {
        private final RouterSpec spec;
        private final CpuTensor logits;
        private final CpuTensor bias;
        private final CpuTensor scores;
        private final CpuTensor experts;
        private final CpuTensor weights;
        private final CpuTensor counts;

        Routing(RouterSpec spec, CpuTensor logits, CpuTensor bias) {
            int tokens = logits.shape().rows();
            this.spec = spec;
            this.logits = logits;
            this.bias = bias;
            this.scores = fixture.empty(DType.FP32, tokens, spec.experts());
            this.experts = fixture.empty(DType.INT32, tokens, spec.topK());
            this.weights = fixture.empty(DType.FP32, tokens, spec.topK());
            this.counts = fixture.empty(DType.INT32, spec.experts());
            ops.route(spec, logits, bias, scores, experts, weights, counts);
        }
    }

    private Routing random(RouterSpec spec, int tokens) {
        return new Routing(
                spec,
                fixture.gaussian(DType.FP32, 1.5, tokens, spec.experts()),
                fixture.gaussian(DType.FP32, 0.3, spec.experts()));
    }

    @ParameterizedTest
    @MethodSource("specs")
    void choosesAndWeighsLikeTheDefinition(RouterSpec spec) {
        Routing routing = random(spec, 41);
        int k = spec.topK();
        int[] experts = fixture.read(routing.experts);
        int[] expectedCounts = new int[spec.experts()];
        double[] scores = scores(spec, doubles(routing.logits));
        assertClose(routing.scores, scores, 1e-6);
        for (int t = 0; t < 41; t++) {
            int[] chosen = Arrays.copyOfRange(experts, t * k, (t + 1) * k);
            double[] basis = spec.score() == Score.TOP_K_SOFTMAX ? doubles(routing.logits) : scores;
            double[] selection = Arrays.copyOfRange(basis, t * spec.experts(), (t + 1) * spec.experts());
            assertThat(chosen).isEqualTo(select(spec, plus(selection, doubles(routing.bias))));
            Arrays.stream(chosen).forEach(expert -> expectedCounts[expert]++);
        }
        assertClose(routing.weights, weights(spec, doubles(routing.logits), experts), 1e-6);
        assertThat(fixture.read(routing.counts)).isEqualTo(expectedCounts);
    }

    @ParameterizedTest
    @MethodSource("specs")
    void backwardAgreesWithDifferences(RouterSpec spec) {
        Routing routing = random(spec, 7);
        int[] experts = fixture.read(routing.experts);
        CpuTensor dweights = fixture.gaussian(DType.FP32, 1, 7, spec.topK());
        CpuTensor dscores = fixture.gaussian(DType.FP32, 1, 7, spec.experts());
        CpuTensor dlogits = fixture.empty(DType.FP32, 7, spec.experts());
        ops.routeBackward(
                spec, routing.logits, routing.scores, routing.experts, routing.weights, dweights, null, dlogits);
        double[] dw = doubles(dweights);
        double[] z = doubles(routing.logits);
        assertClose(dlogits, differences(at -> dot(dw, weights(spec, at, experts)), z), 1e-5);
        ops.routeBackward(
                spec, routing.logits, routing.scores, routing.experts, routing.weights, dweights, dscores, dlogits);
        double[] ds = doubles(dscores);
        double[] expected = differences(at -> dot(dw, weights(spec, at, experts)) + dot(ds, scores(spec, at)), z);
        assertClose(dlogits, expected, 1e-5);
    }

    @Test
    void tiesGoToTheLowerIndex() {
        for (Score score : Score.values()) {
            CpuTensor logits = fixture.zeros(DType.FP32, 2, 6);
            CpuTensor bias = fixture.zeros(DType.FP32, 6);
            Routing flat = new Routing(new RouterSpec(6, 3, score, true, 1, 1, 1f), logits, bias);
            assertThat(fixture.read(flat.experts)).containsExactly(0, 1, 2, 0, 1, 2);
            Routing grouped = new Routing(new RouterSpec(6, 2, score, true, 3, 2, 1f), logits, bias);
            assertThat(fixture.read(grouped.experts)).containsExactly(0, 1, 0, 1);
        }
    }

    @Test
    void extremeLogitsStayFiniteAndNoTokensAreFine() {
        for (Score score : Score.values()) {
            RouterSpec spec = new RouterSpec(3, 2, score, true, 1, 1, 1f);
            CpuTensor logits = fixture.floats(new float[] {-200, -300, -400, 1e4f, 0, -1e4f}, 2, 3);
            Routing routing = new Routing(spec, logits, fixture.zeros(DType.FP32, 3));
            for (float weight : fixture.readFloats(routing.weights)) {
                assertThat(weight).isBetween(0f, 1f);
            }
            Routing none = random(spec, 0);
            assertThat(fixture.read(none.counts)).containsOnly(0);
        }
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void balanceLossGradientAndSums(boolean normalize) {
        int experts = 5;
        CpuTensor scores = fixture.gaussian(DType.FP32, 1, 6, experts);
        fixture.backend.upload(positive(fixture.readFloats(scores)), scores);
        CpuTensor fraction = fixture.gaussian(DType.FP32, 1, experts);
        CpuTensor dscores = fixture.gaussian(DType.FP32, 1, 6, experts);
        CpuTensor sums = fixture.gaussian(DType.FP32, 1, experts);
        double[] gradientBefore = doubles(dscores);
        double[] sumsBefore = doubles(sums);
        double[] f = doubles(fraction);
        ops.balanceLoss(scores, normalize, fraction, 0.7f, dscores, sums);
        double[] s = doubles(scores);
        double[] expected = differences(at -> (double) 0.7f * dot(f, scoreSums(at, experts, normalize)), s);
        assertClose(dscores, plus(gradientBefore, expected), 1e-5);
        assertClose(sums, plus(sumsBefore, scoreSums(s, experts, normalize)), 1e-5);
        ops.balanceLoss(scores, normalize, null, 0.7f, dscores, sums);
        assertClose(dscores, plus(gradientBefore, expected), 1e-5);
    }

    @Test
    void zLossAndItsGradient() {
        CpuTensor logits = fixture.gaussian(DType.FP32, 3, 6, 5);
        CpuTensor out = fixture.floats(new float[] {2}, 1);
        CpuTensor dlogits = fixture.gaussian(DType.FP32, 1, 6, 5);
        double[] before = doubles(dlogits);
        ops.zLoss(logits, 0.01f, out, dlogits);
        double[] z = doubles(logits);
        assertThat((double) fixture.readFloats(out)[0]).isCloseTo(2 + zLoss(z, 5), within(1e-4));
        double[] gradient = differences(at -> (double) 0.01f * zLoss(at, 5), z);
        assertClose(dlogits, plus(before, gradient), 1e-5);
    }

    private static float[] positive(float[] values) {
        for (int i = 0; i < values.length; i++) {
            values[i] = Math.abs(values[i]) + 0.01f;
        }
        return values;
    }

    private static double[] scoreSums(double[] scores, int experts, boolean normalize) {
        double[] sums = new double[experts];
        for (int row = 0; row < scores.length; row += experts) {
            double sum = 0;
            for (int e = 0; e < experts; e++) {
                sum += scores[row + e];
            }
            for (int e = 0; e < experts; e++) {
                sums[e] += scores[row + e] / (normalize ? sum : 1);
            }
        }
        return sums;
    }

    private static double zLoss(double[] logits, int experts) {
        double loss = 0;
        for (int row = 0; row < logits.length; row += experts) {
            double sum = 0;
            for (int e = 0; e < experts; e++) {
                sum += Math.exp(logits[row + e]);
            }
            loss += Math.log(sum) * Math.log(sum);
        }
        return loss;
    }

    private static double[] scores(RouterSpec spec, double[] logits) {
        double[] scores = new double[logits.length];
        for (int row = 0; row < logits.length; row += spec.experts()) {
            double[] z = Arrays.copyOfRange(logits, row, row + spec.experts());
            double[] s = spec.score() == Score.SIGMOID
                    ? Arrays.stream(z).map(value -> 1 / (1 + Math.exp(-value))).toArray()
                    : softmax(z);
            System.arraycopy(s, 0, scores, row, s.length);
        }
        return scores;
    }

    private static double[] softmax(double[] z) {
        double max = Arrays.stream(z).max().orElse(0);
        double[] exponentials =
                Arrays.stream(z).map(value -> Math.exp(value - max)).toArray();
        double sum = Arrays.stream(exponentials).sum();
        return Arrays.stream(exponentials).map(value -> value / sum).toArray();
    }

    private static double[] weights(RouterSpec spec, double[] logits, int[] experts) {
        int k = spec.topK();
        double[] scores = scores(spec, logits);
        double[] weights = new double[experts.length];
        for (int t = 0; t < experts.length / k; t++) {
            double[] chosen = new double[k];
            for (int j = 0; j < k; j++) {
                int at = t * spec.experts() + experts[t * k + j];
                chosen[j] = spec.score() == Score.TOP_K_SOFTMAX ? logits[at] : scores[at];
            }
            if (spec.score() == Score.TOP_K_SOFTMAX) {
                chosen = softmax(chosen);
            } else if (spec.normalize()) {
                double sum = Arrays.stream(chosen).sum();
                chosen = Arrays.stream(chosen).map(value -> value / sum).toArray();
            }
            for (int j = 0; j < k; j++) {
                weights[t * k + j] = chosen[j] * spec.scale();
            }
        }
        return weights;
    }

    /** Sorts where the operation searches. */
    private static int[] select(RouterSpec spec, double[] selection) {
        int groupSize = spec.experts() / spec.groups();
        int best = spec.topK() / spec.groupTopK();
        double[] groupScores = new double[spec.groups()];
        for (int g = 0; g < spec.groups() && spec.groups() > 1; g++) {
            double[] sorted = Arrays.copyOfRange(selection, g * groupSize, (g + 1) * groupSize);
            Arrays.sort(sorted);
            for (int i = 0; i < best; i++) {
                groupScores[g] += sorted[groupSize - 1 - i];
            }
        }
        List<Integer> groups = descending(groupScores).subList(0, spec.groups() == 1 ? 1 : spec.groupTopK());
        return descending(selection).stream()
                .filter(expert -> groups.contains(expert / groupSize))
                .limit(spec.topK())
                .mapToInt(Integer::intValue)
                .toArray();
    }

    private static List<Integer> descending(double[] values) {
        return IntStream.range(0, values.length)
                .boxed()
                .sorted(Comparator.comparingDouble(i -> -values[i]))
                .toList();
    }
}
