package io.fourfold.hf;

import io.fourfold.config.AttentionConfig;
import io.fourfold.config.FfnConfig;
import io.fourfold.config.ModelConfig;
import io.fourfold.config.ModelConfig.HfFamily;
import io.fourfold.config.MoeConfig;
import io.fourfold.config.RouterConfig;
import io.fourfold.config.SharedExpertConfig;
import io.fourfold.kernels.op.Activation;
import io.fourfold.kernels.op.RouterSpec;
import java.util.ArrayList;
import java.util.List;

/** What the three Hugging Face model classes can and cannot express. */
final class HfFamilies {
    private HfFamilies() {}

    static String architecture(HfFamily family) {
        return switch (family) {
            case MIXTRAL -> "MixtralForCausalLM";
            case QWEN2_MOE -> "Qwen2MoeForCausalLM";
            case QWEN3_MOE -> "Qwen3MoeForCausalLM";
            case NONE -> throw new IllegalArgumentException("family none has no architecture");
        };
    }

    static String modelType(HfFamily family) {
        return switch (family) {
            case MIXTRAL -> "mixtral";
            case QWEN2_MOE -> "qwen2_moe";
            case QWEN3_MOE -> "qwen3_moe";
            case NONE -> throw new IllegalArgumentException("family none has no model type");
        };
    }

    /** Throws one {@link HfException} with every reason why the model cannot be exported to its family. */
    static void require(ModelConfig model) {
        List<String> reasons = reasons(model);
        if (!reasons.isEmpty()) {
            throw HfException.of(
                    "model " + model.name() + " cannot be written as a Hugging Face model of family "
                            + model.family().name().toLowerCase(java.util.Locale.ROOT),
                    reasons,
                    "Set model.family to a class that fits, or train a model without these features.");
        }
    }

    /** Every reason why the model's family cannot express it; empty when it can. */
    static List<String> reasons(ModelConfig model) {
        List<String> reasons = new ArrayList<>();
        MoeConfig moe = model.moe();
        if (model.family() == HfFamily.NONE) {
            reasons.add("model.family is none: choose mixtral, qwen2_moe or qwen3_moe");
        }
        if (moe == null) {
            reasons.add("model.moe is absent: a dense model belongs to none of the MoE classes");
        } else {
            moeReasons(moe, reasons);
        }
        FfnConfig ffn = model.ffn();
        if (ffn != null && ffn.activation() != Activation.SWIGLU) {
            reasons.add("model.ffn.activation is relu2: these classes have SwiGLU only");
        }
        switch (model.family()) {
            case MIXTRAL -> mixtralReasons(model, reasons);
            case QWEN2_MOE -> qwen2Reasons(model, reasons);
            case QWEN3_MOE -> qwen3Reasons(model, reasons);
            case NONE -> {}
        }
        return reasons;
    }

    private static void moeReasons(MoeConfig moe, List<String> reasons) {
        RouterConfig router = moe.router();
        if (moe.activation() != Activation.SWIGLU) {
            reasons.add("model.moe.activation is relu2: these classes have SwiGLU only");
        }
        if (router.score() == RouterSpec.Score.SIGMOID) {
            reasons.add("model.moe.router.score is sigmoid: these classes have a softmax router only");
        }
        if (router.biasUpdateRate() > 0) {
            reasons.add("model.moe.router.bias_update_rate is " + router.biasUpdateRate()
                    + ": these classes have no expert bias");
        }
        if (router.groups() > 1) {
            reasons.add("model.moe.router.groups is " + router.groups() + ": no group-limited routing there");
        }
        if (router.scale() != 1.0) {
            reasons.add("model.moe.router.scale is " + router.scale() + ": no scaling factor there");
        }
        if (moe.capacity() != null) {
            reasons.add("model.moe.capacity is set: these classes never drop tokens");
        }
    }

    private static void mixtralReasons(ModelConfig model, List<String> reasons) {
        MoeConfig moe = model.moe();
        AttentionConfig attention = model.attention();
        if (attention.qkvBias()) {
            reasons.add("model.attention.qkv_bias: Mixtral has no biases");
        }
        if (attention.qkNorm()) {
            reasons.add("model.attention.qk_norm: Mixtral has no query/key norm");
        }
        if (moe == null) {
            return;
        }
        if (moe.sharedExpert() != null) {
            reasons.add("model.moe.shared_expert: Mixtral has no shared expert");
        }
        if (hasDenseLayers(model)) {
            reasons.add("model.moe.dense_layers/layer_step leave dense blocks: every Mixtral block has experts");
        }
        if (moe.router().score() == RouterSpec.Score.SOFTMAX_TOP_K
                && !moe.router().normalize()) {
            reasons.add("model.moe.router.normalize is false: Mixtral always normalises the chosen weights");
        }
    }

    private static void qwen2Reasons(ModelConfig model, List<String> reasons) {
        AttentionConfig attention = model.attention();
        if (attention.qkNorm()) {
            reasons.add("model.attention.qk_norm: Qwen2-MoE has no query/key norm");
        }
        if (attention.queryWidth() != model.hiddenSize()) {
            reasons.add("heads * head_dim is " + attention.queryWidth() + " but hidden_size " + model.hiddenSize()
                    + ": Qwen2-MoE has no head_dim of its own");
        }
        MoeConfig moe = model.moe();
        if (moe == null) {
            return;
        }
        SharedExpertConfig shared = moe.sharedExpert();
        if (shared == null) {
            reasons.add("model.moe.shared_expert is absent: every Qwen2-MoE block has a shared expert");
        } else if (!shared.gated()) {
            reasons.add("model.moe.shared_expert.gated is false: the shared expert of Qwen2-MoE is gated");
        }
    }

    private static void qwen3Reasons(ModelConfig model, List<String> reasons) {
        AttentionConfig attention = model.attention();
        if (!attention.qkNorm()) {
            reasons.add("model.attention.qk_norm is false: Qwen3-MoE normalises queries and keys");
        }
        if (attention.qkvBias()) {
            reasons.add("model.attention.qkv_bias: Qwen3-MoE's attention_bias adds one to the output projection too");
        }
        MoeConfig moe = model.moe();
        if (moe != null && moe.sharedExpert() != null) {
            reasons.add("model.moe.shared_expert: Qwen3-MoE has no shared expert");
        }
    }

    static boolean hasDenseLayers(ModelConfig model) {
        for (int layer = 0; layer < model.layers(); layer++) {
            if (!model.isMoeLayer(layer)) {
                return true;
            }
        }
        return false;
    }
}
