package io.fourfold.kernels.op;

import io.fourfold.kernels.tensor.DType;
import java.util.Objects;

/**
 * How one GEMM operand is represented.
 *
 * @param format element format
 * @param blocks scaling granularity; {@link Blocks#NONE} for FP32 and BF16
 * @param rounding to nearest even, or stochastic (gradients)
 * @param hadamard apply the 16-point random Hadamard transform along K first (wgrad operands)
 * @param formula which of the two published scale computations to use (NVFP4 only)
 */
public record OperandSpec(Format format, Blocks blocks, Rounding rounding, boolean hadamard, ScaleFormula formula) {
    /** Element formats. */
    public enum Format {
        FP32,
        BF16,
        FP8_E4M3,
        FP8_E5M2,
        NVFP4,
        MXFP4
    }

    /** Scale granularity, as rows by K. */
    public enum Blocks {
        NONE,
        /** One FP32 scale per tensor (FP8 current scaling). */
        TENSOR,
        B1X16,
        B16X16,
        B1X32,
        B1X128,
        B128X128
    }

    /** Rounding of elements to codes. Scales are always rounded to nearest even. */
    public enum Rounding {
        NEAREST_EVEN,
        STOCHASTIC
    }

    /** TransformerEngine 2.14 and later: amax * (S * (1/6)); the paper's release: (amax / 6) * S. */
    public enum ScaleFormula {
        TE_2_14,
        PAPER
    }

    public static final OperandSpec FP32 = plain(Format.FP32);
    public static final OperandSpec BF16 = plain(Format.BF16);

    public OperandSpec {
        Objects.requireNonNull(format);
        boolean fits = switch (format) {
            case FP32, BF16 -> blocks == Blocks.NONE && !hadamard && rounding == Rounding.NEAREST_EVEN;
            case FP8_E4M3, FP8_E5M2 -> blocks == Blocks.TENSOR || blocks == Blocks.B1X128 || blocks == Blocks.B128X128;
            case NVFP4 -> blocks == Blocks.B1X16 || blocks == Blocks.B16X16;
            case MXFP4 -> blocks == Blocks.B1X32;
        };
        if (!fits) {
            throw new IllegalArgumentException(format + " does not go with blocks " + blocks + ", rounding " + rounding
                    + ", hadamard " + hadamard);
        }
    }

    private static OperandSpec plain(Format format) {
        return new OperandSpec(format, Blocks.NONE, Rounding.NEAREST_EVEN, false, ScaleFormula.TE_2_14);
    }

    public static OperandSpec of(Format format, Blocks blocks) {
        return new OperandSpec(format, blocks, Rounding.NEAREST_EVEN, false, ScaleFormula.TE_2_14);
    }

    public OperandSpec withRounding(Rounding other) {
        return new OperandSpec(format, blocks, other, hadamard, formula);
    }

    public OperandSpec withHadamard(boolean other) {
        return new OperandSpec(format, blocks, rounding, other, formula);
    }

    public OperandSpec withFormula(ScaleFormula other) {
        return new OperandSpec(format, blocks, rounding, hadamard, other);
    }

    /** Whether an operand of values of this type is these values themselves. */
    public boolean keeps(DType type) {
        return !quantized() && (format == Format.FP32 || type == DType.BF16);
    }

    /** True when elements are codes with block scales rather than plain values. */
    public boolean quantized() {
        return format != Format.FP32 && format != Format.BF16;
    }
}
