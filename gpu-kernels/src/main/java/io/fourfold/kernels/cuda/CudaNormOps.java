package io.fourfold.kernels.cuda;

import static io.fourfold.kernels.cuda.CudaArguments.blocks;
import static io.fourfold.kernels.cuda.CudaArguments.floats;
import static io.fourfold.kernels.cuda.CudaArguments.fp32;
import static io.fourfold.kernels.cuda.CudaArguments.kernel;
import static io.fourfold.kernels.cuda.CudaArguments.require;

import io.fourfold.kernels.op.NormOps;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;

/** RMSNorm of rows and of heads: rms_norm.cu, head_norm.cu, head_norm_rope.cu. */
final class CudaNormOps implements NormOps {
    private static final int VECTOR = 8;
    private static final int MOST_THREADS = 512;
    private static final int WIDEST = 2 * MOST_THREADS * VECTOR;
    private static final int WIDEST_HEAD = 32 * VECTOR;
    private static final int HEAD_THREADS = 256;

    private final CudaRuntime cuda;
    private final HeadNormRope rotating;

    CudaNormOps(CudaRuntime cuda, RotaryFrequencies frequencies) {
        this.cuda = cuda;
        this.rotating = new HeadNormRope(cuda, frequencies);
    }

    @Override
    public void rmsNorm(Tensor x, Tensor weight, float eps, Tensor y, Tensor rstd) {
        CudaTensor in = CudaTensor.of(x);
        int rows = in.shape().rows();
        int cols = in.shape().cols();
        CudaTensor w = fp32(weight, "weight", cols);
        CudaTensor out = floats(y, "y", in.elements());
        CudaTensor scale = fp32(rstd, "rstd", rows);
        cuda.function("rms_norm", kernel("rms_norm", in, out))
                .launchLine(blocks(rows, 4), 128, in, w, eps, out, scale, rows, cols);
    }

    @Override
    public void rmsNormBackward(
            Tensor dy, Tensor x, Tensor weight, Tensor rstd, Tensor dx, boolean accumulate, Tensor dweight) {
        CudaTensor in = CudaTensor.of(x);
        int rows = in.shape().rows();
        int cols = in.shape().cols();
        require(cols <= WIDEST, "RMSNorm backward on the GPU takes rows of up to " + WIDEST + " values, got " + in);
        CudaTensor dOut = floats(dy, "dy", in.elements());
        CudaTensor w = fp32(weight, "weight", cols);
        CudaTensor scale = fp32(rstd, "rstd", rows);
        CudaTensor dIn = floats(dx, "dx", in.elements());
        CudaTensor dW = fp32(dweight, "dweight", cols);
        int threads = Math.min(MOST_THREADS, blocks(blocks(cols, VECTOR), 32) * 32);
        int vectors = threads * VECTOR >= cols ? 1 : 2;
        int grid = Math.min(rows, cuda.device().multiprocessors() * Math.max(1, 1024 / threads));
        try (CudaTensorScope work = cuda.workspace()) {
            CudaTensor partial = work.allocate(DType.FP32, Math.max(1, grid), cols);
            cuda.function("rms_norm", kernel("rms_norm_backward" + vectors, dOut, in, dIn))
                    .launchLine(grid, threads, dOut, in, w, scale, dIn, accumulate ? 1 : 0, partial, rows, cols);
            PartialSums.add(cuda, partial, grid, cols, dW);
        }
    }

    @Override
    public void headNorm(
            Tensor qkv,
            int heads,
            int kvHeads,
            Tensor queryWeight,
            Tensor keyWeight,
            float eps,
            Tensor y,
            Tensor rstd) {
        Heads layout = new Heads(qkv, heads, kvHeads);
        CudaTensor in = CudaTensor.of(qkv);
        CudaTensor out = floats(y, "y", in.elements());
        cuda.function("head_norm", kernel("head_norm", in, out))
                .launchLine(
                        grid(layout, 16),
                        HEAD_THREADS,
                        in,
                        layout.tokens,
                        heads,
                        kvHeads,
                        layout.dim,
                        layout.lanes,
                        fp32(queryWeight, "queryWeight", layout.dim),
                        fp32(keyWeight, "keyWeight", layout.dim),
                        eps,
                        out,
                        fp32(rstd, "rstd", layout.statistics()));
    }

    @Override
    public void headNormBackward(
            Tensor dy,
            Tensor qkv,
            int heads,
            int kvHeads,
            Tensor queryWeight,
            Tensor keyWeight,
            Tensor rstd,
            Tensor dqkv,
            Tensor dqueryWeight,
            Tensor dkeyWeight) {
        Heads layout = new Heads(qkv, heads, kvHeads);
        CudaTensor in = CudaTensor.of(qkv);
        CudaTensor dOut = floats(dy, "dy", in.elements());
        CudaTensor dIn = floats(dqkv, "dqkv", in.elements());
        int dim = layout.dim;
        CudaTensor dQuery = fp32(dqueryWeight, "dqueryWeight", dim);
        CudaTensor dKey = fp32(dkeyWeight, "dkeyWeight", dim);
        int grid = grid(layout, 8);
        try (CudaTensorScope work = cuda.workspace()) {
            CudaTensor partial = work.allocate(DType.FP32, Math.max(1, grid), 2 * dim);
            CudaTensor sums = work.zeros(DType.FP32, 2, dim);
            cuda.function("head_norm", kernel("head_norm_backward", dOut, in, dIn))
                    .launchLine(
                            grid,
                            HEAD_THREADS,
                            dOut,
                            in,
                            layout.tokens,
                            heads,
                            kvHeads,
                            dim,
                            layout.lanes,
                            fp32(queryWeight, "queryWeight", dim),
                            fp32(keyWeight, "keyWeight", dim),
                            fp32(rstd, "rstd", layout.statistics()),
                            dIn,
                            partial);
            PartialSums.add(cuda, partial, grid, 2 * dim, sums);
            PartialSums.add(cuda, sums, 1, dim, dQuery);
            PartialSums.add(cuda, (CudaTensor) sums.rows(1, 2), 1, dim, dKey);
        }
    }

    @Override
    public boolean headNormRope(
            Tensor qkv,
            int heads,
            int kvHeads,
            Tensor queryWeight,
            Tensor keyWeight,
            float eps,
            Rotation rotation,
            Tensor y,
            Tensor rstd) {
        return rotating.forward(qkv, heads, kvHeads, queryWeight, keyWeight, eps, rotation, y, rstd);
    }

    @Override
    public boolean headNormRopeBackward(
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
        return rotating.backward(
                dy, qkv, heads, kvHeads, queryWeight, keyWeight, rstd, rotation, dqkv, dqueryWeight, dkeyWeight);
    }

    private int grid(Heads layout, int perMultiprocessor) {
        long items = (long) layout.tokens * layout.perToken;
        long needed = (items * layout.lanes + HEAD_THREADS - 1) / HEAD_THREADS;
        return (int) Math.min(needed, (long) cuda.device().multiprocessors() * perMultiprocessor);
    }

    /** Where the heads of a packed row lie, and how many lanes share one. */
    private static final class Heads {
        private final int tokens;
        private final int perToken;
        private final int normed;
        private final int dim;
        private final int lanes;

        Heads(Tensor qkv, int heads, int kvHeads) {
            int width = qkv.shape().cols();
            tokens = qkv.shape().rows();
            perToken = heads + 2 * kvHeads;
            normed = heads + kvHeads;
            dim = width / perToken;
            require(dim * perToken == width, "qkv " + qkv + " does not hold " + heads + " + 2 * " + kvHeads + " heads");
            require(
                    dim <= WIDEST_HEAD,
                    "head norms on the GPU take a headDim of up to " + WIDEST_HEAD + ", got " + dim);
            int lanesNeeded = blocks(dim, VECTOR);
            lanes = lanesNeeded <= 1 ? 1 : Integer.highestOneBit(lanesNeeded - 1) * 2;
        }

        long statistics() {
            return (long) tokens * normed;
        }
    }
}
