package io.fourfold.config;

import io.fourfold.kernels.op.Activation;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** Mixture-of-experts blocks. */
public record MoeConfig(
        @Setting(doc = "Routed experts.", min = 1) int experts,
        @Setting(doc = "Experts per token.", min = 1) int topK,

        @Setting(doc = "Inner width of one expert.", min = 1)
        int intermediateSize,

        @Setting(doc = "swiglu or relu2.", value = "swiglu") Activation activation,

        @Setting(doc = "Router and its losses.", value = "{}")
        RouterConfig router,

        @Setting(doc = "Expert that every token passes through; absent = none.", value = Setting.ABSENT) @Nullable
        SharedExpertConfig sharedExpert,

        @Setting(doc = "Token dropping; absent = dropless.", value = Setting.ABSENT) @Nullable
        CapacityConfig capacity,

        @Setting(doc = "0-based blocks that stay dense.", value = "[]")
        List<Integer> denseLayers,

        @Setting(doc = "Every n-th block has experts (1 = all).", value = "1", min = 1)
        int layerStep) {
    public MoeConfig {
        denseLayers = List.copyOf(denseLayers);
    }
}
