package io.fourfold.kernels.quant;

import io.fourfold.kernels.numeric.Float4E2M1;
import io.fourfold.kernels.numeric.Float8E4M3;
import io.fourfold.kernels.numeric.Float8E5M2;
import io.fourfold.kernels.numeric.ScaleE8M0;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Format;

/**
 * A quantized operand [rows, depth] the way a GPU stores it, K contiguous. FP4: two codes a byte, the even column in the
 * low nibble; FP8: a code a byte. The depth is padded with zero codes to whole blocks (FP4) or to 16 (FP8).
 *
 * @param depth K, including the padding of a Hadamard transform
 * @param storedDepth K of the codes
 * @param codes [rows, storedDepth] elements
 * @param scales FP4: [rows, storedDepth / block] E4M3 (NVFP4; 16x16 blocks repeat the byte on their 16 rows) or UE8M0
 *     (MXFP4) bytes, in plain row-major order; empty for FP8
 * @param factors FP8: FP32 decode factors, [rows, blocks] for 1x128, [row blocks, blocks] for 128x128, [1] per tensor
 * @param amax largest magnitude of the tensor, after a Hadamard transform
 * @param tensorScale factor of all values, applied to the finished sum
 */
public record PackedMatrix(
        OperandSpec spec,
        int rows,
        int depth,
        int storedDepth,
        byte[] codes,
        byte[] scales,
        float[] factors,
        float amax,
        float tensorScale) {

    /** Code of element (row, k). */
    public int code(int row, int k) {
        int index = row * storedDepth + k;
        if (fp4()) {
            return (codes[index / 2] >>> (index % 2 * 4)) & 0xF;
        }
        return codes[index] & 0xFF;
    }

    /** Decode factor of the block of element (row, k). */
    public float decodeFactor(int row, int k) {
        return switch (spec.blocks()) {
            case B1X16, B16X16 -> Float8E4M3.decode(scales[row * (storedDepth / 16) + k / 16]);
            case B1X32 -> ScaleE8M0.decode(scales[row * (storedDepth / 32) + k / 32]);
            case B1X128 -> factors[row * blocks() + k / 128];
            case B128X128 -> factors[row / 128 * blocks() + k / 128];
            case TENSOR -> 1f;
            case NONE -> throw new IllegalStateException("a packed matrix is always quantized");
        };
    }

    /** Code times decode factor: what enters the GEMM, before the tensor scale. */
    public float value(int row, int k) {
        float element = switch (spec.format()) {
            case NVFP4, MXFP4 -> Float4E2M1.decode(code(row, k));
            case FP8_E4M3 -> Float8E4M3.decode(code(row, k));
            case FP8_E5M2 -> Float8E5M2.decode(code(row, k));
            case FP32, BF16 -> throw new IllegalStateException("a packed matrix is always quantized");
        };
        return element * decodeFactor(row, k);
    }

    /** All values [rows, depth], without the tensor scale. */
    public float[] values() {
        float[] out = new float[rows * depth];
        for (int r = 0; r < rows; r++) {
            for (int k = 0; k < depth; k++) {
                out[r * depth + k] = value(r, k);
            }
        }
        return out;
    }

    private int blocks() {
        return (depth + 127) / 128;
    }

    private boolean fp4() {
        return spec.format() == Format.NVFP4 || spec.format() == Format.MXFP4;
    }
}
