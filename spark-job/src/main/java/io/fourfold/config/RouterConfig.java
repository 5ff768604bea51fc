package io.fourfold.config;

import io.fourfold.kernels.op.RouterSpec;

/** The router of a MoE block and the losses that balance it. */
public record RouterConfig(
        @Setting(
                doc = "softmax_top_k (Qwen), top_k_softmax (Mixtral) or sigmoid (DeepSeek-V3).",
                value = "softmax_top_k")
        RouterSpec.Score score,

        @Setting(doc = "Divide the chosen weights by their sum.", value = "false")
        boolean normalize,

        @Setting(doc = "Factor on the chosen weights.", value = "1.0")
        double scale,

        @Setting(doc = "Expert groups for group-limited routing; 1 = off.", value = "1", min = 1)
        int groups,

        @Setting(doc = "Groups a token may use.", value = "1", min = 1)
        int groupTopK,

        @Setting(
                doc = "Aux-loss-free balancing: change of the expert bias per step; 0 = no bias.",
                value = "0.0",
                min = 0)
        double biasUpdateRate,

        @Setting(doc = "Coefficient of the load-balancing loss.", value = "0.0", min = 0)
        double auxLossCoeff,

        @Setting(doc = "Tokens over which the load-balancing loss is taken.", value = "micro_batch")
        AuxLossScope auxLossScope,

        @Setting(doc = "Coefficient of the router z-loss.", value = "0.0", min = 0)
        double zLossCoeff) {
    /** Over what the balance is measured. */
    public enum AuxLossScope {
        MICRO_BATCH,
        SEQUENCE,
        GLOBAL_BATCH
    }
}
