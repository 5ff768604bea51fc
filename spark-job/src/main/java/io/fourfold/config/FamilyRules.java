package io.fourfold.config;

import io.fourfold.kernels.op.Activation;
import io.fourfold.kernels.op.RouterSpec;
import java.util.List;

/** What {@code model.family} promises: that the architecture can be written as that Hugging Face model class. */
final class FamilyRules {
    private FamilyRules() {}

    static void check(ModelConfig model, List<Problem> problems) {
        if (model.family() == ModelConfig.HfFamily.NONE) {
            return;
        }
        MoeConfig moe = model.moe();
        if (moe == null) {
            must(problems, model, false, "model.moe", "must be given");
            return;
        }
        RouterConfig router = moe.router();
        must(problems, model, moe.activation() == Activation.SWIGLU, "model.moe.activation", "must be swiglu");
        must(problems, model, router.groups() == 1, "model.moe.router.groups", "must be 1");
        must(problems, model, router.scale() == 1.0, "model.moe.router.scale", "must be 1");
        must(problems, model, router.biasUpdateRate() == 0, "model.moe.router.bias_update_rate", "must be 0");
        FfnConfig ffn = model.ffn();
        must(
                problems,
                model,
                ffn == null || ffn.activation() == Activation.SWIGLU,
                "model.ffn.activation",
                "must be swiglu");
        switch (model.family()) {
            case MIXTRAL -> mixtral(model, moe, problems);
            case QWEN2_MOE -> qwen2(model, moe, problems);
            case QWEN3_MOE -> qwen3(model, moe, problems);
            case NONE -> throw new IllegalStateException("handled above");
        }
    }

    private static void mixtral(ModelConfig model, MoeConfig moe, List<Problem> problems) {
        boolean everywhere = moe.denseLayers().isEmpty() && moe.layerStep() == 1;
        must(problems, model, everywhere, "model.moe.dense_layers", "must be empty and layer_step 1");
        score(problems, model, moe, RouterSpec.Score.TOP_K_SOFTMAX);
        must(problems, model, moe.sharedExpert() == null, "model.moe.shared_expert", "must be absent");
        must(problems, model, !model.attention().qkvBias(), "model.attention.qkv_bias", "must be false");
        must(problems, model, !model.attention().qkNorm(), "model.attention.qk_norm", "must be false");
    }

    private static void qwen2(ModelConfig model, MoeConfig moe, List<Problem> problems) {
        SharedExpertConfig shared = moe.sharedExpert();
        score(problems, model, moe, RouterSpec.Score.SOFTMAX_TOP_K);
        must(problems, model, shared != null && shared.gated(), "model.moe.shared_expert", "must be given and gated");
        must(problems, model, !model.attention().qkNorm(), "model.attention.qk_norm", "must be false");
        boolean fits = model.attention().queryWidth() == model.hiddenSize();
        must(problems, model, fits, "model.attention.head_dim", "must be hidden_size / heads");
    }

    private static void qwen3(ModelConfig model, MoeConfig moe, List<Problem> problems) {
        score(problems, model, moe, RouterSpec.Score.SOFTMAX_TOP_K);
        must(problems, model, moe.sharedExpert() == null, "model.moe.shared_expert", "must be absent");
        must(problems, model, model.attention().qkNorm(), "model.attention.qk_norm", "must be true");
        must(problems, model, !model.attention().qkvBias(), "model.attention.qkv_bias", "must be false");
    }

    private static void score(List<Problem> problems, ModelConfig model, MoeConfig moe, RouterSpec.Score score) {
        String word = SettingKeys.word(score);
        must(problems, model, moe.router().score() == score, "model.moe.router.score", "must be " + word);
    }

    private static void must(List<Problem> problems, ModelConfig model, boolean holds, String key, String rule) {
        if (!holds) {
            problems.add(Problem.error(
                    key,
                    "",
                    rule + " for family " + SettingKeys.word(model.family()),
                    "change it, or set model.family to none (then the model has no Hugging Face export)"));
        }
    }
}
