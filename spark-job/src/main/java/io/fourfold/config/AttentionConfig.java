package io.fourfold.config;

/** Grouped-query attention with rotary positions. */
public record AttentionConfig(
        @Setting(doc = "Query heads.", min = 1) int heads,

        @Setting(doc = "Key/value heads; divides heads.", min = 1)
        int kvHeads,

        @Setting(doc = "Width of a head; even.", min = 2) int headDim,

        @Setting(doc = "Bias on the query, key and value projections (Qwen2).", value = "false")
        boolean qkvBias,

        @Setting(doc = "RMSNorm on each query and key head before the rotation (Qwen3).", value = "false")
        boolean qkNorm,

        @Setting(doc = "Base of the rotary frequencies.", value = "10000", min = 1)
        double ropeTheta) {
    public int queryWidth() {
        return heads * headDim;
    }

    public int kvWidth() {
        return kvHeads * headDim;
    }
}
