package io.fourfold.config;

import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Scale blocks and Hadamard blocks of a recipe may not straddle ranks: each rank's part of a split width must be whole
 * blocks, or its codes would differ from those of one rank.
 */
final class SplitRules {
    private SplitRules() {}

    static void check(
            ParallelConfig parallel,
            ModelConfig model,
            RecipeConfig recipe,
            @Nullable TrainConfig train,
            List<Problem> problems) {
        String tensor = "tensor_parallel_size";
        int tp = parallel.tensorParallelSize();
        AttentionConfig attention = model.attention();
        parts(problems, recipe, tensor, tp, "model.attention.heads * head_dim", attention.queryWidth());
        parts(problems, recipe, tensor, tp, "model.attention.kv_heads * head_dim", attention.kvWidth());
        if (model.ffn() != null) {
            int inner = model.ffn().intermediateSize();
            parts(problems, recipe, tensor, tp, "model.ffn.intermediate_size", inner);
        }
        MoeConfig moe = model.moe();
        if (moe != null) {
            parts(
                    problems,
                    recipe,
                    "expert_tensor_parallel_size",
                    parallel.expertTensorParallelSize(),
                    "model.moe.intermediate_size",
                    moe.intermediateSize());
            if (moe.sharedExpert() != null) {
                int inner = moe.sharedExpert().intermediateSize();
                parts(problems, recipe, tensor, tp, "model.moe.shared_expert.intermediate_size", inner);
            }
        }
        if (train != null && parallel.contextParallelSize() > 1) {
            int chunks = 2 * parallel.contextParallelSize();
            parts(problems, recipe, "context_parallel_size", chunks, "train.sequence_length", train.sequenceLength());
        }
    }

    /**
     * @param ranks equal parts that the width is split into
     */
    private static void parts(
            List<Problem> problems, RecipeConfig recipe, String degree, int ranks, String key, int width) {
        int block = block(recipe);
        if (ranks > 1 && width % ranks == 0 && width / ranks % block != 0) {
            problems.add(Problem.error(
                    "parallel." + degree,
                    degree.startsWith("context") ? ranks / 2 : ranks,
                    "splits " + key + " (" + width + ") into parts of " + width / ranks
                            + ", no multiple of the blocks of " + block + " of recipe "
                            + SettingKeys.word(recipe.kind()),
                    "use a degree or width whose parts are multiples of " + block));
        }
    }

    /** Elements that share a scale, the larger of the two sides of a block. */
    private static int block(RecipeConfig recipe) {
        return switch (recipe.kind()) {
            case FP32, BF16 -> 1;
            case NVFP4 -> 16;
            case MXFP4 -> 32;
            case FP8 -> recipe.fp8Scaling() == RecipeConfig.Fp8Scaling.BLOCK ? 128 : 1;
        };
    }
}
