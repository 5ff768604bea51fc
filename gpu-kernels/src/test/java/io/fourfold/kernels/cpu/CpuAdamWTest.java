package io.fourfold.kernels.cpu;

import static io.fourfold.kernels.cpu.OperationFixture.assertClose;
import static io.fourfold.kernels.cpu.OperationFixture.doubles;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.fourfold.kernels.numeric.ExactSum;
import io.fourfold.kernels.numeric.SplitFloat;
import io.fourfold.kernels.op.AdamWStep;
import io.fourfold.kernels.op.OptimizerOps;
import io.fourfold.kernels.op.SegmentAmax;
import io.fourfold.kernels.tensor.DType;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

final class CpuAdamWTest {
    private final OperationFixture fixture = new OperationFixture(8);
    private final OptimizerOps ops = fixture.backend.optimizer();

    @AfterEach
    void close() {
        fixture.close();
    }

    @Test
    void followsTheFormulaOverSeveralSteps() {
        int n = 29;
        CpuTensor weight = fixture.gaussian(DType.FP32, 1, n);
        CpuTensor m = fixture.zeros(DType.FP32, n);
        CpuTensor v = fixture.zeros(DType.FP32, n);
        double[] w = doubles(weight);
        double[] first = new double[n];
        double[] second = new double[n];
        for (int t = 1; t <= 5; t++) {
            CpuTensor grad = fixture.gaussian(DType.FP32, 1, n);
            AdamWStep step = new AdamWStep(t, 0.01f, 0.9f, 0.95f, 1e-8f, 0.1f, 0.5f);
            ops.adamW(weight, grad, m, v, t == 3 ? step.withoutDecay() : step);
            double[] g = doubles(grad);
            for (int i = 0; i < n; i++) {
                double x = g[i] * 0.5;
                first[i] = 0.9 * first[i] + 0.1 * x;
                second[i] = 0.95 * second[i] + 0.05 * x * x;
                double update =
                        first[i] / (1 - Math.pow(0.9, t)) / (Math.sqrt(second[i] / (1 - Math.pow(0.95, t))) + 1e-8);
                w[i] -= 0.01 * (update + (t == 3 ? 0 : 0.1) * w[i]);
            }
            assertClose(weight, w, 1e-6);
        }
        assertClose(m, first, 1e-5);
        assertClose(v, second, 1e-5);
    }

    /** More than one chunk of weights, in views. */
    @Test
    void splitWeightsAreUpdatedLikeWholeOnes() {
        int n = 2501;
        CpuTensor weight = fixture.gaussian(DType.FP32, 1, n);
        CpuTensor head = fixture.empty(DType.BF16, n);
        CpuTensor remainder = fixture.empty(DType.INT16, n);
        ops.split(weight, head, remainder);
        CpuTensor m = fixture.zeros(DType.FP32, n);
        CpuTensor v = fixture.zeros(DType.FP32, n);
        CpuTensor m2 = fixture.zeros(DType.FP32, n);
        CpuTensor v2 = fixture.zeros(DType.FP32, n);
        CpuTensor joined = fixture.empty(DType.FP32, n);
        for (int t = 1; t <= 4; t++) {
            CpuTensor grad = fixture.gaussian(DType.FP32, 1, n);
            AdamWStep step = new AdamWStep(t, 0.01f, 0.9f, 0.95f, 1e-8f, 0.1f, 0.5f);
            ops.adamW(weight, grad, m, v, step);
            ops.adamW(head, remainder, grad, m2, v2, step);
            ops.join(head, remainder, joined);
            float[] expected = fixture.readFloats(weight);
            assertThat(fixture.readFloats(joined)).isEqualTo(expected);
            float[] heads = fixture.readFloats(head);
            for (int i = 0; i < n; i++) {
                assertThat(heads[i]).isEqualTo(SplitFloat.head(expected[i]));
            }
        }
        assertThat(fixture.readFloats(m2)).isEqualTo(fixture.readFloats(m));
        assertThat(fixture.readFloats(v2)).isEqualTo(fixture.readFloats(v));
    }

    @Test
    void tellsTheLargestMagnitudesOfSegments() {
        CpuTensor weight = fixture.floats(new float[] {1, -3, 2, 0.5f, Float.NaN, -0.25f}, 6);
        CpuTensor none = fixture.zeros(DType.FP32, 6);
        CpuTensor m = fixture.zeros(DType.FP32, 6);
        CpuTensor v = fixture.zeros(DType.FP32, 6);
        CpuTensor amax = fixture.floats(new float[] {0, 0, 7, 0}, 4);
        AdamWStep still = new AdamWStep(1, 0, 0.9f, 0.95f, 1e-8f, 0, 1);
        ops.adamW(weight, none, m, v, still, new SegmentAmax(new long[] {0, 2, 2, 4, 6}, amax));
        assertThat(fixture.readFloats(amax)).containsExactly(3, 0, 7, Float.POSITIVE_INFINITY);
    }

    @Test
    void headsAloneAreSplitOff() {
        CpuTensor values = fixture.gaussian(DType.FP32, 1, 1500);
        CpuTensor head = fixture.empty(DType.BF16, 1500);
        CpuTensor again = fixture.empty(DType.BF16, 1500);
        CpuTensor remainder = fixture.empty(DType.INT16, 1500);
        ops.split(values, head, null);
        ops.split(values, again, remainder);
        assertThat(fixture.readFloats(head)).isEqualTo(fixture.readFloats(again));
    }

    @Test
    void squaredNormAddsInDoublePrecision() {
        CpuTensor values = fixture.gaussian(DType.FP32, 100, 1001);
        CpuTensor out = fixture.floats(new float[] {3}, 1);
        double expected = 3;
        for (double value : doubles(values)) {
            expected += value * value;
        }
        ops.addSquaredNorm(values, out);
        assertThat((double) fixture.readFloats(out)[0]).isCloseTo(expected, within(Math.ulp((float) expected) * 1.0));
        ops.addSquaredNorm(fixture.floats(new float[] {1, Float.NaN}, 2), out);
        assertThat(fixture.readFloats(out)[0]).isNaN();
        CpuTensor none = fixture.floats(new float[] {7}, 1);
        ops.addSquaredNorm(fixture.empty(DType.FP32, 0), none);
        assertThat(fixture.readFloats(none)).containsExactly(7f);
    }

    /** Segments that cut groups of 16 elements do not change the sum where those are multiples of 16. */
    @Test
    void sumsOfSquaresDoNotDependOnTheSegments() {
        CpuTensor values = fixture.gaussian(DType.FP32, 1e-6, 1000);
        ExactSum whole = sum(values, 0, 1000);
        assertThat(sum(values, 0, 16, 16, 320, 1000).words()).containsExactly(whole.words());
        double expected = 0;
        for (double value : doubles(values)) {
            expected += value * value;
        }
        assertThat(whole.value()).isCloseTo(expected, within(expected * 1e-14));
        assertThat(sum(values, 3, 17).isFinite()).isTrue();
        assertThat(sum(fixture.floats(new float[] {1, Float.NaN}, 2), 0, 1, 2).isFinite())
                .isFalse();
    }

    private ExactSum sum(CpuTensor values, long... starts) {
        CpuTensor out = fixture.empty(DType.INT32, (starts.length - 1) * ExactSum.INTS);
        ops.sumSquares(values, starts, out);
        ExactSum sum = new ExactSum();
        for (int i = 0; i + 1 < starts.length; i++) {
            sum.add(ExactSum.of(fixture.readInts(out), i * ExactSum.INTS));
        }
        return sum;
    }
}
