package io.fourfold.kernels.cpu;

import static io.fourfold.kernels.cpu.OperationFixture.assertClose;
import static io.fourfold.kernels.cpu.OperationFixture.differences;
import static io.fourfold.kernels.cpu.OperationFixture.doubles;
import static io.fourfold.kernels.cpu.OperationFixture.plus;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.kernels.op.LossOps;
import io.fourfold.kernels.tensor.DType;
import java.util.Arrays;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

final class CpuLinearCrossEntropyTest {
    private final OperationFixture fixture = new OperationFixture(7);
    private final LossOps ops = fixture.backend.loss();

    @AfterEach
    void close() {
        fixture.close();
    }

    @ParameterizedTest
    @CsvSource({"1, 3, 2", "9, 8, 13", "5, 1, 1", "6, 4, 30"})
    void lossAndGradients(int tokens, int width, int vocabulary) {
        CpuTensor hidden = fixture.gaussian(DType.FP32, 1, tokens, width);
        CpuTensor weight = fixture.gaussian(DType.FP32, 1, vocabulary, width);
        int[] labels = fixture.random.ints(tokens, -1, vocabulary).toArray();
        labels[0] = vocabulary - 1;
        CpuTensor loss = fixture.empty(DType.FP32, tokens);
        CpuTensor dhidden = fixture.empty(DType.FP32, tokens, width);
        CpuTensor dweight = fixture.gaussian(DType.FP32, 1, vocabulary, width);
        double[] before = doubles(dweight);
        ops.linearCrossEntropy(hidden, weight, fixture.ints(labels, tokens), 0.25f, loss, dhidden, dweight);
        double[] h = doubles(hidden);
        double[] w = doubles(weight);
        assertClose(loss, losses(h, w, labels, width), 1e-5);
        assertClose(dhidden, differences(at -> 0.25 * sum(losses(at, w, labels, width)), h), 1e-5);
        double[] dw = differences(at -> 0.25 * sum(losses(h, at, labels, width)), w);
        assertClose(dweight, plus(before, dw), 1e-5);
        Arrays.fill(dweight.floats(), Float.NaN);
        ops.linearCrossEntropy(hidden, weight, fixture.ints(labels, tokens), 0.25f, loss, dhidden, dweight, false);
        assertClose(dweight, dw, 1e-5);
    }

    /** Operands of the backward products are rounded too, so gradients are within two BF16 roundings. */
    @Test
    void bf16HiddenRoundsTheOperands() {
        CpuTensor hidden = fixture.gaussian(DType.BF16, 1, 20, 16);
        CpuTensor weight = fixture.gaussian(DType.FP32, 1, 11, 16);
        CpuTensor rounded = fixture.empty(DType.BF16, 11, 16);
        fixture.backend.elementwise().copy(weight, rounded);
        int[] labels = fixture.random.ints(20, -1, 11).toArray();
        CpuTensor loss = fixture.empty(DType.FP32, 20);
        CpuTensor dhidden = fixture.empty(DType.BF16, 20, 16);
        CpuTensor dweight = fixture.zeros(DType.FP32, 11, 16);
        ops.linearCrossEntropy(hidden, weight, fixture.ints(labels, 20), 1f, loss, dhidden, dweight);
        double[] h = doubles(hidden);
        double[] w = doubles(rounded);
        assertClose(loss, losses(h, w, labels, 16), 1e-5);
        assertClose(dhidden, differences(at -> sum(losses(at, w, labels, 16)), h), 0x1p-7);
        assertClose(dweight, differences(at -> sum(losses(h, at, labels, 16)), w), 0x1p-7);
    }

    /** More tokens than a chunk: the same losses as one at a time. */
    @Test
    void chunksDoNotShow() {
        int vocabulary = 40_000;
        CpuTensor hidden = fixture.gaussian(DType.FP32, 1, 130, 3);
        CpuTensor weight = fixture.gaussian(DType.FP32, 1, vocabulary, 3);
        CpuTensor labels = fixture.randomInts(vocabulary, 130);
        CpuTensor loss = fixture.empty(DType.FP32, 130);
        CpuTensor dhidden = fixture.empty(DType.FP32, 130, 3);
        CpuTensor dweight = fixture.zeros(DType.FP32, vocabulary, 3);
        ops.linearCrossEntropy(hidden, weight, labels, 1f, loss, dhidden, dweight);
        CpuTensor one = fixture.empty(DType.FP32, 1);
        CpuTensor dOne = fixture.empty(DType.FP32, 1, 3);
        CpuTensor dSum = fixture.zeros(DType.FP32, vocabulary, 3);
        for (int t = 0; t < 130; t++) {
            CpuTensor row = CpuTensor.of(hidden.rows(t, t + 1));
            CpuTensor label = labels.view(t, one.shape());
            ops.linearCrossEntropy(row, weight, label, 1f, one, dOne, dSum);
            assertClose(one, new double[] {doubles(loss)[t]}, 1e-6);
            assertClose(dOne, doubles(CpuTensor.of(dhidden.rows(t, t + 1))), 1e-5);
        }
        assertClose(dSum, doubles(dweight), 1e-5);
    }

    @Test
    void ignoresMinusOneAndWorksWithNothing() {
        CpuTensor hidden = fixture.gaussian(DType.FP32, 1, 3, 2);
        CpuTensor weight = fixture.gaussian(DType.FP32, 1, 4, 2);
        CpuTensor loss = fixture.empty(DType.FP32, 3);
        CpuTensor dhidden = fixture.empty(DType.FP32, 3, 2);
        CpuTensor dweight = fixture.zeros(DType.FP32, 4, 2);
        CpuTensor labels = fixture.ints(new int[] {-1, -1, -1}, 3);
        ops.linearCrossEntropy(hidden, weight, labels, 1f, loss, dhidden, dweight);
        assertThat(fixture.readFloats(loss)).containsOnly(0f);
        assertThat(fixture.readFloats(dhidden)).containsOnly(0f);
        assertThat(fixture.readFloats(dweight)).containsOnly(0f);
        CpuTensor none = fixture.empty(DType.FP32, 0, 2);
        ops.linearCrossEntropy(
                none, weight, fixture.ints(new int[0], 0), 1f, fixture.empty(DType.FP32, 0), none, dweight);
        CpuTensor wrong = fixture.ints(new int[] {-1, 4, -2}, 3);
        assertThatThrownBy(() -> ops.linearCrossEntropy(hidden, weight, wrong, 1f, loss, null, null))
                .hasMessageContaining("label 4 at position 1");
    }

    @Test
    void staysStableForLargeLogits() {
        CpuTensor hidden = fixture.floats(new float[] {1000}, 1, 1);
        CpuTensor weight = fixture.floats(new float[] {1, -1}, 2, 1);
        CpuTensor loss = fixture.empty(DType.FP32, 1);
        CpuTensor label = fixture.ints(new int[] {1}, 1);
        ops.linearCrossEntropy(hidden, weight, label, 1f, loss, null, null);
        assertThat(fixture.readFloats(loss)).containsExactly(2000f);
    }

    private static double sum(double[] values) {
        return Arrays.stream(values).sum();
    }

    private static double[] losses(double[] hidden, double[] weight, int[] labels, int width) {
        double[] losses = new double[labels.length];
        for (int t = 0; t < labels.length; t++) {
            if (labels[t] < 0) {
                continue;
            }
            double sum = 0;
            double labelLogit = 0;
            for (int v = 0; v < weight.length / width; v++) {
                double logit = 0;
                for (int i = 0; i < width; i++) {
                    logit += hidden[t * width + i] * weight[v * width + i];
                }
                sum += Math.exp(logit);
                labelLogit = v == labels[t] ? logit : labelLogit;
            }
            losses[t] = Math.log(sum) - labelLogit;
        }
        return losses;
    }
}
