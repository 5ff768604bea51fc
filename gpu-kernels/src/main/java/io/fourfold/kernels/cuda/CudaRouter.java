package io.fourfold.kernels.cuda;

import static io.fourfold.kernels.cuda.CudaArguments.blocks;
import static io.fourfold.kernels.cuda.CudaArguments.fp32;
import static io.fourfold.kernels.cuda.CudaArguments.int32;
import static io.fourfold.kernels.cuda.CudaArguments.optionalFp32;
import static io.fourfold.kernels.cuda.CudaArguments.require;

import io.fourfold.kernels.op.RouterSpec;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/** Routing, its gradient and its auxiliary losses: router.cu, one warp per token. */
final class CudaRouter {
    private static final String FILE = "router";
    private static final int MOST_EXPERTS = 512;
    private static final int WARP = 32;
    private static final int TOKENS_PER_BLOCK = 4;
    private static final int BLOCK = TOKENS_PER_BLOCK * WARP;

    private final CudaRuntime cuda;

    CudaRouter(CudaRuntime cuda) {
        this.cuda = cuda;
    }

    void route(
            RouterSpec spec,
            Tensor logits,
            @Nullable Tensor expertBias,
            Tensor scores,
            Tensor experts,
            Tensor weights,
            Tensor counts) {
        int width = spec.experts();
        int k = spec.topK();
        int tokens = tokens(logits, width);
        require(k <= WARP && spec.groups() <= WARP, "the GPU router takes up to 32 choices and 32 groups, got " + spec);
        CudaTensor tally = int32(counts, "counts", width);
        cuda.memory().zero(tally);
        function("route", width)
                .launchLine(
                        blocks(tokens, TOKENS_PER_BLOCK),
                        BLOCK,
                        tokens,
                        width,
                        k,
                        spec.score().ordinal(),
                        spec.normalize() ? 1 : 0,
                        spec.groups(),
                        spec.groupTopK(),
                        spec.scale(),
                        fp32(logits, "logits", (long) tokens * width),
                        optionalFp32(expertBias, "expertBias", width),
                        fp32(scores, "scores", (long) tokens * width),
                        int32(experts, "experts", (long) tokens * k),
                        fp32(weights, "weights", (long) tokens * k),
                        tally);
    }

    void backward(
            RouterSpec spec,
            Tensor logits,
            Tensor scores,
            Tensor experts,
            Tensor dweights,
            @Nullable Tensor dscores,
            Tensor dlogits) {
        int width = spec.experts();
        int k = spec.topK();
        int tokens = tokens(logits, width);
        function("route_backward", width)
                .launchLine(
                        blocks(tokens, TOKENS_PER_BLOCK),
                        BLOCK,
                        tokens,
                        width,
                        k,
                        spec.score().ordinal(),
                        spec.normalize() ? 1 : 0,
                        spec.scale(),
                        fp32(logits, "logits", (long) tokens * width),
                        fp32(scores, "scores", (long) tokens * width),
                        int32(experts, "experts", (long) tokens * k),
                        fp32(dweights, "dweights", (long) tokens * k),
                        optionalFp32(dscores, "dscores", (long) tokens * width),
                        fp32(dlogits, "dlogits", (long) tokens * width));
    }

    void balanceLoss(
            Tensor scores,
            boolean normalize,
            @Nullable Tensor fraction,
            float factor,
            Tensor dscores,
            Tensor scoreSums) {
        int width = Math.toIntExact(scoreSums.elements());
        int tokens = tokens(scores, width);
        int grid = grid(tokens);
        try (CudaTensorScope work = cuda.workspace()) {
            CudaTensor partial = work.allocate(DType.FP32, Math.max(1, grid), width);
            function("balance_loss", width)
                    .launchLine(
                            grid,
                            BLOCK,
                            tokens,
                            width,
                            fp32(scores, "scores", (long) tokens * width),
                            normalize ? 1 : 0,
                            optionalFp32(fraction, "fraction", width),
                            factor,
                            fp32(dscores, "dscores", (long) tokens * width),
                            partial);
            PartialSums.add(cuda, partial, grid, width, fp32(scoreSums, "scoreSums", width));
        }
    }

    void zLoss(Tensor logits, float factor, Tensor out, Tensor dlogits) {
        int width = logits.shape().cols();
        int tokens = logits.shape().rows();
        int grid = grid(tokens);
        try (CudaTensorScope work = cuda.workspace()) {
            CudaTensor partial = work.allocate(DType.INT32, Math.max(1, grid), 2); // FP64 [grid]
            function("z_loss", width)
                    .launchLine(
                            grid,
                            BLOCK,
                            tokens,
                            width,
                            fp32(logits, "logits", logits.elements()),
                            factor,
                            partial,
                            fp32(dlogits, "dlogits", logits.elements()));
            cuda.function("optimizer", "add_sum_fp64").launchLine(1, 512, partial, grid, fp32(out, "out", 1));
        }
    }

    private int grid(int tokens) {
        return Math.min(blocks(tokens, TOKENS_PER_BLOCK), cuda.device().multiprocessors() * 8);
    }

    /** The kernel that holds this many experts in the registers of a warp. */
    private CudaFunction function(String name, int experts) {
        require(experts <= MOST_EXPERTS, "the GPU router takes up to " + MOST_EXPERTS + " experts, got " + experts);
        int perLane = 1;
        while (perLane * WARP < experts) {
            perLane *= 2;
        }
        return cuda.function(FILE, name + '_' + perLane);
    }

    private static int tokens(Tensor matrix, int width) {
        require(matrix.elements() % width == 0, matrix + " does not have rows of " + width + " experts");
        return Math.toIntExact(matrix.elements() / width);
    }
}
