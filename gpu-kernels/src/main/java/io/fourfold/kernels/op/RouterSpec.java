package io.fourfold.kernels.op;

/**
 * How router logits become expert choices and weights. All of it is FP32.
 *
 * @param experts number of experts E
 * @param topK experts per token
 * @param score order and kind of the score function
 * @param normalize divide the k weights by their sum (not for {@link Score#TOP_K_SOFTMAX}, whose weights sum to one)
 * @param groups expert groups for group-limited selection; 1 = off
 * @param groupTopK groups a token may use; a group's score is the sum of its best topK/groupTopK expert scores
 * @param scale factor on the final weights
 */
public record RouterSpec(
        int experts, int topK, Score score, boolean normalize, int groups, int groupTopK, float scale) {
    /** Score functions in use: Mixtral selects then normalizes, Qwen the other way round, DeepSeek-V3 uses sigmoid. */
    public enum Score {
        /** softmax over all experts, then top-k (Qwen2-MoE, Qwen3-MoE). */
        SOFTMAX_TOP_K,
        /** top-k of the logits, then softmax over the chosen ones (Mixtral). */
        TOP_K_SOFTMAX,
        /** sigmoid of each logit; an expert bias changes the selection but not the weights (DeepSeek-V3). */
        SIGMOID
    }

    public RouterSpec {
        if (topK < 1 || topK > experts) {
            throw new IllegalArgumentException("topK " + topK + " must be in 1.." + experts);
        }
        if (groups < 1 || experts % groups != 0 || groupTopK < 1 || groupTopK > groups) {
            throw new IllegalArgumentException(
                    "groups " + groups + ", groupTopK " + groupTopK + " do not fit " + experts + " experts");
        }
        if (groups > 1 && (topK % groupTopK != 0 || topK / groupTopK > experts / groups)) {
            throw new IllegalArgumentException(
                    "topK " + topK + " must be a multiple of groupTopK " + groupTopK + " and fit into its groups");
        }
    }
}
