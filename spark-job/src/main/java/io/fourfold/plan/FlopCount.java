package io.fourfold.plan;

import io.fourfold.config.ModelConfig;

/**
 * Model FLOPs of training one token, forward and backward (three times the forward pass), without recomputation and
 * without what quantization costs. With N the active matmul parameters, L blocks, S tokens a sequence, Q = heads * head_dim:
 *
 * <pre>
 *   causal = 6 N +  6 L S Q     attention scores below the diagonal only
 *   full   = 6 N + 12 L S Q     all of them, as MFU figures up to Megatron-Core 0.11 count
 * </pre>
 *
 * @param causal per token
 * @param full per token
 */
public record FlopCount(long causal, long full) {
    public static final String CAUSAL_FORMULA = "6 N_active + 6 L S (heads head_dim)";
    public static final String FULL_FORMULA = "6 N_active + 12 L S (heads head_dim)";

    public static FlopCount of(ModelConfig model, int sequenceLength) {
        long matrices = 6 * ParameterCount.of(model).activeMatmul();
        long attention =
                6L * model.layers() * sequenceLength * model.attention().queryWidth();
        return new FlopCount(matrices + attention, matrices + 2 * attention);
    }
}
