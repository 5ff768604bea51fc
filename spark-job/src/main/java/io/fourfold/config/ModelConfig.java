package io.fourfold.config;

import org.jspecify.annotations.Nullable;

/** Architecture of a decoder. */
public record ModelConfig(
        @Setting(doc = "Name shown in logs and checkpoints.")
        String name,

        @Setting(doc = "Hugging Face architecture to import from and export to.", value = "none")
        HfFamily family,

        @Setting(doc = "Number of transformer blocks.", min = 1, max = 10000)
        int layers,

        @Setting(doc = "Width of the residual stream.", min = 1)
        int hiddenSize,

        @Setting(doc = "Vocabulary size; must cover the tokenizer's ids.", min = 2)
        int vocabSize,

        @Setting(doc = "Self-attention.") AttentionConfig attention,

        @Setting(doc = "Dense feed-forward blocks (layers without experts).", value = Setting.ABSENT) @Nullable
        FfnConfig ffn,

        @Setting(doc = "Mixture of experts; absent for a dense model.", value = Setting.ABSENT) @Nullable
        MoeConfig moe,

        @Setting(doc = "Share the embedding with the output head.", value = "false")
        boolean tieEmbeddings,

        @Setting(doc = "Epsilon of every RMSNorm.", value = "1.0e-5", min = 0)
        double normEpsilon,

        @Setting(doc = "Standard deviation of the normal initialisation.", value = "0.02", min = 0)
        double initStd,

        @Setting(doc = "Longest context in tokens, written to config.json.", value = "4096", min = 1)
        int maxPositions) {

    /** Which Hugging Face model class a configuration corresponds to. */
    public enum HfFamily {
        NONE,
        MIXTRAL,
        QWEN2_MOE,
        QWEN3_MOE
    }

    /** True when block {@code layer} (0-based) has experts. */
    public boolean isMoeLayer(int layer) {
        return moe != null && !moe.denseLayers().contains(layer) && (layer + 1) % moe.layerStep() == 0;
    }
}
