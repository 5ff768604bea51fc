package io.fourfold.kernels.cpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.GroupedOperand.Layout;
import io.fourfold.kernels.op.OperandCopy;
import io.fourfold.kernels.op.OperandPair;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import io.fourfold.kernels.op.OperandSpec.Format;
import io.fourfold.kernels.op.OperandSpec.ScaleFormula;
import io.fourfold.kernels.op.WeightCodeOps;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Operands made of codes are those made of the weights. */
class CpuWeightCodesTest {
    private static final OperandSpec TILES = OperandSpec.of(Format.NVFP4, Blocks.B16X16);
    private static final int MATRICES = 3;
    private static final int ROWS = 48;
    private static final int COLS = 80;

    private final HeapScope scope = new HeapScope();
    private final CpuQuantizeOps quantize = new CpuQuantizeOps();
    private final CpuWeightCodes codes = new CpuWeightCodes();

    @ParameterizedTest
    @EnumSource(ScaleFormula.class)
    void stripsOfSeveralOwnersGiveTheOperandsOfTheWeights(ScaleFormula formula) {
        OperandSpec spec = TILES.withFormula(formula);
        CpuTensor weights = weights();
        CpuTensor flat = weights.view(0, Shape.flat(weights.elements()));
        CpuTensor amax = floats(MATRICES);
        long matrix = (long) ROWS * COLS;
        codes.largest(
                flat, new long[] {0, matrix, matrix, 2 * matrix, 2 * matrix, 3 * matrix}, new int[] {0, 1, 2}, amax);
        int stripWords = WeightCodeOps.stripWords(COLS);
        CpuTensor words = CpuTensor.of(scope.allocate(DType.INT32, MATRICES * ROWS / 16 * stripWords));
        int firstRow = 0;
        for (int endRow : new int[] {16, 80, 144}) {
            codes.encode(
                    weights.view((long) firstRow * COLS, Shape.of(endRow - firstRow, COLS)),
                    firstRow,
                    ROWS,
                    spec,
                    amax,
                    words.view((long) firstRow / 16 * stripWords, Shape.of((endRow - firstRow) / 16 * stripWords)));
            firstRow = endRow;
        }
        OperandCopy copy = new OperandCopy(spec, null, null, scope);
        var made = codes.stacked(words, ROWS, COLS, amax, copy, copy);
        same(quantize.stacked(weights, false, spec, null, scope), made.byRows());
        same(quantize.stacked(weights, true, spec, null, scope), made.byColumns());

        OperandPair<GemmOperand> second = codes.operands(
                words.view((long) ROWS / 16 * stripWords, Shape.of(ROWS / 16 * stripWords)),
                ROWS,
                COLS,
                amax.view(1, Shape.of(1)),
                copy,
                copy);
        CpuTensor one = weights.view(matrix, Shape.of(ROWS, COLS));
        same(quantize.operand(one, false, spec, null, null, scope), second.byRows());
        same(quantize.operand(one, true, spec, null, null, scope), second.byColumns());
    }

    private static void same(GroupedOperand expected, GroupedOperand made) {
        CpuGroupedOperand wanted = CpuGroupedOperand.of(expected, Layout.STACKED, "expected");
        CpuGroupedOperand given = CpuGroupedOperand.of(made, Layout.STACKED, "made");
        assertThat(given.width()).isEqualTo(wanted.width());
        assertThat(given.first()).isEqualTo(wanted.first());
        for (int m = 0; m < MATRICES; m++) {
            same(wanted.members()[m], given.members()[m]);
        }
    }

    private static void same(GemmOperand expected, GemmOperand made) {
        CpuOperand wanted = CpuOperand.of(expected);
        CpuOperand given = CpuOperand.of(made);
        assertThat(given.rows()).isEqualTo(wanted.rows());
        assertThat(given.depth()).isEqualTo(wanted.depth());
        assertThat(given.depthMajor()).isEqualTo(wanted.depthMajor());
        assertThat(given.tensorScale()).isEqualTo(wanted.tensorScale());
        for (int i = 0; i < wanted.values().size(); i++) {
            float value = wanted.values().floats()[wanted.values().offset() + i];
            assertThat(Float.floatToRawIntBits(
                            given.values().floats()[given.values().offset() + i]))
                    .as("element %d", i)
                    .isEqualTo(Float.floatToRawIntBits(value));
        }
    }

    @Test
    void findsTheLargestMagnitudeOfEachRange() {
        CpuTensor values = floats(6);
        float[] x = {1, -3, 2, Float.NaN, -0f, 0};
        System.arraycopy(x, 0, values.floats(), values.offset(), x.length);
        CpuTensor largest = floats(4);
        long[] ranges = {0, 3, 2, 4, 4, 6, 5, 5};
        codes.largest(values, ranges, new int[] {0, 1, 2, 3}, largest);
        assertThat(largest.floats()).containsExactly(3, Float.POSITIVE_INFINITY, 0, 0);
        codes.largest(values, ranges, new int[] {2, 3, 2, 2}, largest);
        assertThat(largest.floats()).containsExactly(0, 0, 3, Float.POSITIVE_INFINITY);
    }

    @Test
    void codesOnlySquareBlocksRoundedToNearest() {
        CpuTensor weights = weights();
        OperandSpec rows = OperandSpec.of(Format.NVFP4, Blocks.B1X16);
        assertThatThrownBy(() -> codes.encode(weights, 0, ROWS, rows, floats(MATRICES), floats(1)))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("16 x 16");
    }

    /** Many magnitudes, both zeros, denormals; the last matrix has nothing but zeros in some tiles. */
    private CpuTensor weights() {
        Random random = new Random(3);
        CpuTensor weights = CpuTensor.of(scope.allocate(DType.FP32, MATRICES, ROWS, COLS));
        for (int i = 0; i < weights.size(); i++) {
            weights.floats()[weights.offset() + i] = switch (random.nextInt(8)) {
                case 0 -> 0f;
                case 1 -> -0f;
                case 2 -> (float) (random.nextGaussian() * Math.pow(2, random.nextInt(40) - 30));
                case 3 -> 1e-41f * random.nextInt(100);
                default -> (float) random.nextGaussian();
            };
        }
        int last = weights.offset() + 2 * ROWS * COLS;
        for (int i = 0; i < 16 * COLS; i++) {
            weights.floats()[last + i] *= 1e-9f;
        }
        return weights;
    }

    private CpuTensor floats(int count) {
        return CpuTensor.of(scope.allocate(DType.FP32, count));
    }
}
