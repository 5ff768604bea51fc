package io.fourfold.kernels.cpu;

import io.fourfold.kernels.numeric.Float4E2M1;
import io.fourfold.kernels.numeric.Float8E4M3;
import io.fourfold.kernels.numeric.ScaleE8M0;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import io.fourfold.kernels.op.OperandSpec.Format;
import io.fourfold.kernels.op.RowFormat;
import io.fourfold.kernels.quant.BlockScaling;
import io.fourfold.kernels.tensor.Tensor;
import java.util.Arrays;

/** Packs token rows for the way to their experts; see {@link RowFormat} for the layout. */
final class CpuRowPacking {
    private static final OperandSpec NVFP4 = OperandSpec.of(Format.NVFP4, Blocks.B1X16);
    /** Largest exponent of a row scale whose reciprocal is a normal number. */
    private static final int MAX_EXPONENT = 126;

    private final RowFormat format;
    private final int cols;
    private final int scaleWord;

    private CpuRowPacking(RowFormat format, int cols) {
        this.format = format;
        this.cols = cols;
        this.scaleWord = format.codeWords(cols);
    }

    static void pack(Tensor x, RowFormat format, Tensor packed) {
        CpuTensor from = CpuTensor.of(x);
        int rows = x.shape().rows();
        CpuRowPacking packing = new CpuRowPacking(format, x.shape().cols());
        int words = format.words(packing.cols);
        CpuTensor to = Arguments.int32(packed, "packed", (long) rows * words);
        for (int r = 0; r < rows; r++) {
            int start = to.offset() + r * words;
            Arrays.fill(to.ints(), start, start + words, 0);
            packing.packRow(from.floats(), from.offset() + r * packing.cols, to.ints(), start);
        }
    }

    static void unpack(Tensor packed, RowFormat format, Tensor out) {
        CpuTensor to = CpuTensor.of(out);
        int rows = out.shape().rows();
        CpuRowPacking packing = new CpuRowPacking(format, out.shape().cols());
        int words = format.words(packing.cols);
        CpuTensor from = Arguments.int32(packed, "packed", (long) rows * words);
        for (int r = 0; r < rows; r++) {
            packing.unpackRow(from.ints(), from.offset() + r * words, to.floats(), to.offset() + r * packing.cols);
        }
    }

    private void packRow(float[] x, int at, int[] words, int start) {
        float inverse = 1;
        BlockScaling scaling = null;
        if (format == RowFormat.NVFP4) {
            float amax = amax(x, at, cols);
            inverse = inverseRowScale(amax);
            words[start + format.words(cols) - 1] = Float.floatToRawIntBits(inverse);
            scaling = BlockScaling.of(NVFP4, BlockScaling.NVFP4_TENSOR_MAX * inverse);
        }
        for (int c = 0; c < cols; c += format.block()) {
            int count = Math.min(format.block(), cols - c);
            float amax = amax(x, at + c, count);
            if (scaling == null) {
                int scale = ScaleE8M0.forE4M3(amax);
                putByte(words, start + scaleWord, c / format.block(), scale);
                float factor = 1 / ScaleE8M0.decode(scale);
                for (int i = 0; i < count; i++) {
                    putByte(words, start, c + i, Float8E4M3.encode(x[at + c + i] * factor));
                }
            } else {
                putByte(words, start + scaleWord, c / format.block(), scaling.scaleByte(amax));
                float factor = scaling.encodeFactor(amax, scaling.decodeFactor(amax));
                for (int i = 0; i < count; i++) {
                    words[start + (c + i) / 8] |= Float4E2M1.encode(x[at + c + i] * factor) << (4 * ((c + i) % 8));
                }
            }
        }
    }

    private void unpackRow(int[] words, int start, float[] out, int at) {
        if (format == RowFormat.FP8) {
            for (int c = 0; c < cols; c++) {
                float scale = ScaleE8M0.decode(byteAt(words, start + scaleWord, c / format.block()));
                out[at + c] = Float8E4M3.decode(byteAt(words, start, c)) * scale;
            }
            return;
        }
        float inverse = Float.intBitsToFloat(words[start + format.words(cols) - 1]);
        for (int c = 0; c < cols; c++) {
            float scale = Float8E4M3.decode(byteAt(words, start + scaleWord, c / format.block()));
            out[at + c] = Float4E2M1.decode(words[start + c / 8] >>> (4 * (c % 8))) * scale * inverse;
        }
    }

    /** 1/S with S = 2^floor(log2(2688 / amax)): 2688 = 1.3125 * 2^11. NaN when amax is not finite. */
    private static float inverseRowScale(float amax) {
        if (!Float.isFinite(amax)) {
            return Float.NaN;
        }
        if (amax == 0) {
            return 1;
        }
        int exponent = Math.getExponent(BlockScaling.NVFP4_TENSOR_MAX / amax);
        return Math.scalb(1f, -Math.min(exponent, MAX_EXPONENT));
    }

    private static float amax(float[] x, int from, int count) {
        float amax = 0;
        for (int i = from; i < from + count; i++) {
            amax = Math.max(amax, Math.abs(x[i])); // NaN stays
        }
        return amax;
    }

    private static void putByte(int[] words, int start, int index, int value) {
        words[start + index / 4] |= (value & 0xFF) << (8 * (index % 4));
    }

    private static int byteAt(int[] words, int start, int index) {
        return (words[start + index / 4] >>> (8 * (index % 4))) & 0xFF;
    }
}
