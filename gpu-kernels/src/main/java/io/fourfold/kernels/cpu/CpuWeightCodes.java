package io.fourfold.kernels.cpu;

import io.fourfold.kernels.numeric.Float4E2M1;
import io.fourfold.kernels.numeric.Float8E4M3;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.GroupedOperand.Layout;
import io.fourfold.kernels.op.OperandCopy;
import io.fourfold.kernels.op.OperandPair;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.WeightCodeOps;
import io.fourfold.kernels.quant.BlockScaling;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import java.util.Arrays;
import java.util.stream.IntStream;

/** Element by element as the formulas read; both operands of a matrix share their values. */
final class CpuWeightCodes implements WeightCodeOps {
    private static final int MAGNITUDE = 0x7FFF_FFFF;
    private static final int INFINITY = 0x7F80_0000;
    private static final int CODES_PER_WORD = 8;
    private static final float[] VALUES = new float[16];

    static {
        for (int code = 0; code < VALUES.length; code++) {
            VALUES[code] = Float4E2M1.decode(code);
        }
    }

    @Override
    public void largest(Tensor values, long[] bounds, int[] places, Tensor largest) {
        CpuTensor from = CpuTensor.of(values);
        CpuTensor to = CpuTensor.of(largest);
        float[] x = from.floats();
        Arrays.fill(to.floats(), to.offset(), to.offset() + to.size(), 0f);
        for (int i = 0; i < places.length; i++) {
            int place = to.offset() + places[i];
            int bits = Float.floatToRawIntBits(to.floats()[place]);
            int end = Math.toIntExact(from.offset() + bounds[2 * i + 1]);
            for (int at = Math.toIntExact(from.offset() + bounds[2 * i]); at < end; at++) {
                bits = Math.max(bits, Float.floatToRawIntBits(x[at]) & MAGNITUDE);
            }
            to.floats()[place] = Float.intBitsToFloat(Math.min(bits, INFINITY));
        }
    }

    @Override
    public void encode(Tensor values, int firstRow, int matrixRows, OperandSpec spec, Tensor amax, Tensor words) {
        WeightCodeOps.check(spec);
        CpuTensor source = CpuTensor.of(values);
        CpuTensor target = CpuTensor.of(words);
        CpuTensor largest = CpuTensor.of(amax);
        int cols = source.dim(1);
        int strips = source.dim(0) / TILE;
        require(target, (long) strips * WeightCodeOps.stripWords(cols));
        for (int strip = 0; strip < strips; strip++) {
            int matrix = (firstRow + strip * TILE) / matrixRows;
            BlockScaling scaling = BlockScaling.of(spec, largest.floats()[largest.offset() + matrix]);
            encodeStrip(
                    source.floats(),
                    source.offset() + strip * TILE * cols,
                    cols,
                    scaling,
                    target.ints(),
                    target.offset() + strip * WeightCodeOps.stripWords(cols));
        }
    }

    private static void encodeStrip(float[] x, int from, int cols, BlockScaling scaling, int[] words, int to) {
        for (int word = to + 2 * cols; word < to + WeightCodeOps.stripWords(cols); word++) {
            words[word] = 0;
        }
        for (int tile = 0; tile < cols / TILE; tile++) {
            float largest = 0;
            for (int r = 0; r < TILE; r++) {
                for (int c = tile * TILE; c < (tile + 1) * TILE; c++) {
                    largest = Math.max(largest, Math.abs(x[from + r * cols + c]));
                }
            }
            float encode = scaling.encodeFactor(largest, scaling.decodeFactor(largest));
            words[to + 2 * cols + tile / 4] |= scaling.scaleByte(largest) << (tile % 4 * Byte.SIZE);
            for (int c = tile * TILE; c < (tile + 1) * TILE; c++) {
                for (int half = 0; half < 2; half++) {
                    int word = 0;
                    for (int i = 0; i < CODES_PER_WORD; i++) {
                        float scaled = x[from + (half * CODES_PER_WORD + i) * cols + c] * encode;
                        word |= Float4E2M1.encode(scaled) << (4 * i);
                    }
                    words[to + 2 * c + half] = word;
                }
            }
        }
    }

    @Override
    public OperandPair<GemmOperand> operands(
            Tensor words, int rows, int cols, Tensor amax, OperandCopy byRows, OperandCopy byColumns) {
        CpuOperand one = decode(CpuTensor.of(words), rows, cols, CpuTensor.of(amax), 0, byRows);
        return new OperandPair<>(one, columns(one, byColumns));
    }

    @Override
    public OperandPair<GroupedOperand> stacked(
            Tensor words, int rows, int cols, Tensor amax, OperandCopy byRows, OperandCopy byColumns) {
        CpuTensor largest = CpuTensor.of(amax);
        int matrices = largest.size();
        long each = (long) rows / TILE * WeightCodeOps.stripWords(cols);
        require(CpuTensor.of(words), matrices * each);
        CpuOperand[] rowMembers = new CpuOperand[matrices];
        CpuOperand[] columnMembers = new CpuOperand[matrices];
        for (int m = 0; m < matrices; m++) {
            CpuTensor part = CpuTensor.of(words).view(m * each, Shape.flat(each));
            rowMembers[m] = decode(part, rows, cols, largest, m, byRows);
            columnMembers[m] = columns(rowMembers[m], byColumns);
        }
        int[] first = IntStream.rangeClosed(0, matrices).map(m -> m * rows).toArray();
        return new OperandPair<>(
                new CpuGroupedOperand(Layout.STACKED, byRows.spec(), rowMembers, first, rows),
                new CpuGroupedOperand(Layout.STACKED, byColumns.spec(), columnMembers, first, cols));
    }

    private static CpuOperand columns(CpuOperand rows, OperandCopy copy) {
        WeightCodeOps.check(copy.spec());
        return new CpuOperand(copy.spec(), rows.depth(), rows.rows(), rows.values(), true, rows.tensorScale());
    }

    private static CpuOperand decode(
            CpuTensor words, int rows, int cols, CpuTensor amax, int matrix, OperandCopy copy) {
        WeightCodeOps.check(copy.spec());
        int stripWords = WeightCodeOps.stripWords(cols);
        require(words, (long) rows / TILE * stripWords);
        CpuTensor values = CpuTensor.of(copy.scope().allocate(DType.BF16, rows, cols));
        int[] from = words.ints();
        float[] to = values.floats();
        for (int r = 0; r < rows; r++) {
            int strip = words.offset() + r / TILE * stripWords;
            int half = r % TILE / CODES_PER_WORD;
            int shift = r % CODES_PER_WORD * 4;
            int at = values.offset() + r * cols;
            for (int tile = 0; tile < cols / TILE; tile++) {
                int scale = from[strip + 2 * cols + tile / 4] >>> (tile % 4 * Byte.SIZE) & 0xFF;
                float decode = Float8E4M3.decode(scale);
                for (int c = tile * TILE; c < (tile + 1) * TILE; c++) {
                    to[at + c] = VALUES[from[strip + 2 * c + half] >>> shift & 0xF] * decode;
                }
            }
        }
        float largest = amax.floats()[amax.offset() + matrix];
        float tensorScale = BlockScaling.of(copy.spec(), largest).tensorScale();
        return new CpuOperand(copy.spec(), rows, cols, values, false, tensorScale);
    }

    private static void require(CpuTensor words, long expected) {
        if (words.elements() != expected) {
            throw new IllegalArgumentException("codes of " + expected + " words, given " + words);
        }
    }
}
