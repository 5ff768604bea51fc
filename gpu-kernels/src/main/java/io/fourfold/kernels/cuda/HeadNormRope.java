package io.fourfold.kernels.cuda;

import static io.fourfold.kernels.cuda.CudaArguments.fp32;
import static io.fourfold.kernels.cuda.CudaArguments.int32;
import static io.fourfold.kernels.cuda.CudaArguments.kernel;

import io.fourfold.kernels.op.NormOps.Rotation;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;

/** RMSNorm of query and key heads together with their rotation, head_norm_rope.cu, for the rows that it takes. */
final class HeadNormRope {
    private static final String FILE = "head_norm_rope";
    private static final int THREADS = 256;
    private static final int NARROWEST = 16;
    private static final int WIDEST = 256;
    private static final int BLOCKS_FORWARD = 4;
    private static final int BLOCKS_BACKWARD = 3;

    private final CudaRuntime cuda;
    private final RotaryFrequencies frequencies;

    HeadNormRope(CudaRuntime cuda, RotaryFrequencies frequencies) {
        this.cuda = cuda;
        this.frequencies = frequencies;
    }

    /** See {@link io.fourfold.kernels.op.NormOps#headNormRope}. */
    boolean forward(
            Tensor qkv,
            int heads,
            int kvHeads,
            Tensor queryWeight,
            Tensor keyWeight,
            float eps,
            Rotation rotation,
            Tensor y,
            Tensor rstd) {
        CudaTensor in = CudaTensor.of(qkv);
        CudaTensor out = CudaArguments.floats(y, "y", in.elements());
        int dim = in.shape().cols() / (heads + 2 * kvHeads);
        if (!takes(in, out, heads, kvHeads, dim)) {
            return false;
        }
        int tokens = in.shape().rows();
        cuda.function(FILE, kernel("head_norm_rope", in))
                .launchLine(
                        grid(tokens, BLOCKS_FORWARD),
                        THREADS,
                        in,
                        tokens,
                        heads,
                        kvHeads,
                        dim,
                        fp32(queryWeight, "queryWeight", dim),
                        fp32(keyWeight, "keyWeight", dim),
                        eps,
                        int32(rotation.positions(), "positions", tokens),
                        frequencies.of(rotation.theta(), dim),
                        out,
                        fp32(rstd, "rstd", (long) tokens * (heads + kvHeads)));
        return true;
    }

    /** See {@link io.fourfold.kernels.op.NormOps#headNormRopeBackward}. */
    boolean backward(
            Tensor dy,
            Tensor qkv,
            int heads,
            int kvHeads,
            Tensor queryWeight,
            Tensor keyWeight,
            Tensor rstd,
            Rotation rotation,
            Tensor dqkv,
            Tensor dqueryWeight,
            Tensor dkeyWeight) {
        CudaTensor in = CudaTensor.of(qkv);
        CudaTensor dOut = CudaArguments.floats(dy, "dy", in.elements());
        CudaTensor dIn = CudaArguments.floats(dqkv, "dqkv", in.elements());
        int dim = in.shape().cols() / (heads + 2 * kvHeads);
        if (!takes(in, dIn, heads, kvHeads, dim) || !takes(dOut, dIn, heads, kvHeads, dim)) {
            return false;
        }
        int tokens = in.shape().rows();
        int grid = grid(tokens, BLOCKS_BACKWARD);
        try (CudaTensorScope work = cuda.workspace()) {
            CudaTensor partial = work.allocate(DType.FP32, Math.max(1, grid), 2 * dim);
            CudaTensor sums = work.zeros(DType.FP32, 2, dim);
            cuda.function(FILE, kernel("head_norm_rope_backward", in))
                    .launchLine(
                            grid,
                            THREADS,
                            dOut,
                            in,
                            tokens,
                            heads,
                            kvHeads,
                            dim,
                            fp32(queryWeight, "queryWeight", dim),
                            fp32(keyWeight, "keyWeight", dim),
                            fp32(rstd, "rstd", (long) tokens * (heads + kvHeads)),
                            int32(rotation.positions(), "positions", tokens),
                            frequencies.of(rotation.theta(), dim),
                            dIn,
                            partial);
            PartialSums.add(cuda, partial, grid, 2 * dim, sums);
            PartialSums.add(cuda, sums, 1, dim, fp32(dqueryWeight, "dqueryWeight", dim));
            PartialSums.add(cuda, (CudaTensor) sums.rows(1, 2), 1, dim, fp32(dkeyWeight, "dkeyWeight", dim));
        }
        return true;
    }

    private static boolean takes(CudaTensor in, CudaTensor out, int heads, int kvHeads, int dim) {
        return dim * (heads + 2 * kvHeads) == in.shape().cols()
                && Integer.bitCount(dim) == 1
                && dim >= NARROWEST
                && dim <= WIDEST
                && in.dtype() == out.dtype()
                && in.address() % 16 == 0
                && out.address() % 16 == 0;
    }

    private int grid(int tokens, int perMultiprocessor) {
        return Math.min(tokens, cuda.device().multiprocessors() * perMultiprocessor);
    }
}
