package io.fourfold.kernels.quant;

import io.fourfold.kernels.numeric.Float8E4M3;
import io.fourfold.kernels.numeric.Float8E5M2;
import io.fourfold.kernels.numeric.ScaleE8M0;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import io.fourfold.kernels.op.OperandSpec.Format;
import io.fourfold.kernels.op.OperandSpec.ScaleFormula;

/**
 * From a block's largest magnitude to its two factors: elements are multiplied by the encode factor before they are
 * rounded to codes; codes times the decode factor are the values that enter the GEMM. FP32 arithmetic in the order
 * written. When an amax is infinite or NaN, the tensor scale or the decode factors are not finite either, so a broken
 * tensor shows in every product; its codes mean nothing then.
 */
public abstract sealed class BlockScaling {
    /** Largest E2M1 value times largest E4M3 value: what amax of the whole tensor maps to in NVFP4. */
    public static final float NVFP4_TENSOR_MAX = 2688f;

    private BlockScaling() {}

    /** The stored scale byte of a block; 0 where the format stores FP32 scales. */
    public abstract int scaleByte(float blockAmax);

    /** What codes are multiplied with to get the value that enters the GEMM. */
    public abstract float decodeFactor(float blockAmax);

    /** What elements are multiplied with before they are rounded to codes, given the block's decode factor. */
    public abstract float encodeFactor(float blockAmax, float decodeFactor);

    /** Factor of all values of the tensor, applied to the finished sum (GEMM alpha). */
    public abstract float tensorScale();

    /** Both factors for the {@code count} blocks whose amax is at {@code from, from + 1, ...}. */
    final void factors(float[] blockAmax, int from, int count, float[] encode, float[] decode) {
        for (int i = 0; i < count; i++) {
            decode[i] = decodeFactor(blockAmax[from + i]);
            encode[i] = encodeFactor(blockAmax[from + i], decode[i]);
        }
    }

    /** Scaling of a tensor of the given amax. */
    public static BlockScaling of(OperandSpec spec, float tensorAmax) {
        return switch (spec.format()) {
            case NVFP4 -> new Nvfp4(tensorAmax, spec.formula());
            case MXFP4 -> new Mxfp4();
            case FP8_E4M3, FP8_E5M2 -> {
                float largest = spec.format() == Format.FP8_E4M3 ? Float8E4M3.MAX : Float8E5M2.MAX;
                yield spec.blocks() == Blocks.TENSOR ? new Fp8Tensor(largest, tensorAmax) : new Fp8Block(largest);
            }
            case FP32, BF16 -> throw new IllegalArgumentException(spec.format() + " has no scales");
        };
    }

    /**
     * NVFP4, arXiv:2509.25149 appendix B as TransformerEngine computes it. With S = 2688 / amax: scale byte =
     * E4M3(amax_block * (S * (1/6))), from 2.14 on, or E4M3((amax_block / 6) * S) in the paper's release; encode factor =
     * 1 / (scale * (1/S)).
     */
    static final class Nvfp4 extends BlockScaling {
        private final float amax;
        private final boolean paper;
        private final float scale;
        private final float inverse;
        private final float scaleOverSix;

        Nvfp4(float amax, ScaleFormula formula) {
            this.amax = amax;
            this.paper = formula == ScaleFormula.PAPER;
            float candidate = Math.min(NVFP4_TENSOR_MAX / amax, Float.MAX_VALUE);
            scale = amax == 0f || candidate == 0f ? 1f : candidate;
            inverse = 1f / scale;
            scaleOverSix = scale * (1f / 6f);
        }

        @Override
        public int scaleByte(float blockAmax) {
            float wanted = paper ? blockAmax / 6f * scale : blockAmax * scaleOverSix;
            return Float8E4M3.encode(Math.min(wanted, Float.MAX_VALUE));
        }

        @Override
        public float decodeFactor(float blockAmax) {
            return Float8E4M3.decode(scaleByte(blockAmax));
        }

        @Override
        public float encodeFactor(float blockAmax, float decodeFactor) {
            return Math.min(1f / (decodeFactor * inverse), Float.MAX_VALUE);
        }

        @Override
        public float tensorScale() {
            return amax * (1f / NVFP4_TENSOR_MAX);
        }
    }

    /** MXFP4 (OCP microscaling): one power of two per block, rounded up so that nothing clips; no tensor scale. */
    static final class Mxfp4 extends BlockScaling {
        @Override
        public int scaleByte(float blockAmax) {
            return ScaleE8M0.forE2M1(blockAmax);
        }

        @Override
        public float decodeFactor(float blockAmax) {
            return ScaleE8M0.decode(scaleByte(blockAmax));
        }

        @Override
        public float encodeFactor(float blockAmax, float decodeFactor) {
            return 1f / decodeFactor; // a power of two, so exact
        }

        @Override
        public float tensorScale() {
            return 1;
        }
    }

    /** FP8 with an FP32 scale per block: encode factor = largest / amax_block, decode factor = its FP32 reciprocal. */
    static final class Fp8Block extends BlockScaling {
        private final float largest;

        Fp8Block(float largest) {
            this.largest = largest;
        }

        @Override
        public int scaleByte(float blockAmax) {
            return 0;
        }

        @Override
        public float decodeFactor(float blockAmax) {
            return Float.isFinite(blockAmax) ? 1f / encodeFactor(blockAmax, 0f) : Float.NaN;
        }

        @Override
        public float encodeFactor(float blockAmax, float decodeFactor) {
            return fp8Scale(largest, blockAmax);
        }

        @Override
        public float tensorScale() {
            return 1;
        }
    }

    /** FP8 with one scale per tensor, from its current amax; the values are the bare codes. */
    static final class Fp8Tensor extends BlockScaling {
        private final float scale;
        private final float inverse;

        Fp8Tensor(float largest, float tensorAmax) {
            scale = fp8Scale(largest, tensorAmax);
            inverse = Float.isFinite(tensorAmax) ? 1f / scale : Float.NaN;
        }

        @Override
        public int scaleByte(float blockAmax) {
            return 0;
        }

        @Override
        public float decodeFactor(float blockAmax) {
            return 1f;
        }

        @Override
        public float encodeFactor(float blockAmax, float decodeFactor) {
            return scale;
        }

        @Override
        public float tensorScale() {
            return inverse;
        }
    }

    private static float fp8Scale(float largest, float amax) {
        return amax == 0f || !Float.isFinite(amax) ? 1f : Math.min(largest / amax, Float.MAX_VALUE);
    }
}
