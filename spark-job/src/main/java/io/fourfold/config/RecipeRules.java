package io.fourfold.config;

import java.util.List;
import org.jspecify.annotations.Nullable;

/** Combinations of the recipe with the model and the length of the run. */
final class RecipeRules {
    /** Kinds of linear layers, as {@code recipe.high_precision.modules} names them. */
    static final List<String> LINEAR_KINDS = List.of(
            "qkv", "attention_output", "ffn_up", "ffn_down", "expert_up", "expert_down", "shared_up", "shared_down");

    private RecipeRules() {}

    static void check(
            RecipeConfig recipe, @Nullable ModelConfig model, @Nullable TrainConfig train, List<Problem> problems) {
        boolean quantized = recipe.kind() != RecipeConfig.Kind.FP32 && recipe.kind() != RecipeConfig.Kind.BF16;
        highPrecision(recipe, quantized, model, problems);
        lateSwitch(recipe, quantized, train, problems);
        if (model != null) {
            blocks(recipe, model, problems);
        }
    }

    /** Short blocks work here, padded with zeros; tensor cores want whole ones. */
    private static void blocks(RecipeConfig recipe, ModelConfig model, List<Problem> problems) {
        int block = switch (recipe.kind()) {
            case FP32, BF16 -> 1;
            case FP8, NVFP4 -> 16;
            case MXFP4 -> 32;
        };
        whole(problems, recipe, block, "model.hidden_size", model.hiddenSize());
        whole(
                problems,
                recipe,
                block,
                "model.attention.head_dim",
                model.attention().kvWidth());
        FfnConfig ffn = model.ffn();
        if (ffn != null) {
            whole(problems, recipe, block, "model.ffn.intermediate_size", ffn.intermediateSize());
        }
        MoeConfig moe = model.moe();
        if (moe != null) {
            whole(problems, recipe, block, "model.moe.intermediate_size", moe.intermediateSize());
            SharedExpertConfig shared = moe.sharedExpert();
            if (shared != null) {
                whole(problems, recipe, block, "model.moe.shared_expert.intermediate_size", shared.intermediateSize());
            }
        }
    }

    private static void whole(List<Problem> problems, RecipeConfig recipe, int block, String key, int width) {
        if (width % block != 0) {
            problems.add(Problem.warning(
                    key,
                    width,
                    "gives a matrix width that is no multiple of " + block + ", the block of recipe "
                            + SettingKeys.word(recipe.kind()) + ": its last block is padded with zeros, and GPU kernels"
                            + " cannot run it",
                    "use widths that are multiples of " + block));
        }
    }

    private static void highPrecision(
            RecipeConfig recipe, boolean quantized, @Nullable ModelConfig model, List<Problem> problems) {
        RecipeConfig.HighPrecision high = recipe.highPrecision();
        for (String module : high.modules()) {
            if (!LINEAR_KINDS.contains(module)) {
                String nearest = NearestName.of(module, LINEAR_KINDS);
                problems.add(Problem.error(
                        "recipe.high_precision.modules",
                        module,
                        "must be kinds of linear layers: " + String.join(", ", LINEAR_KINDS),
                        nearest == null ? "choose from them" : "did you mean " + nearest + "?"));
            }
        }
        if (model != null && (long) high.first() + high.last() > model.layers()) {
            problems.add(Problem.error(
                    "recipe.high_precision",
                    "",
                    "first (" + high.first() + ") + last (" + high.last() + ") must not exceed the " + model.layers()
                            + " blocks of the model",
                    "lower first or last; the paper keeps about 15% of the linear layers, mostly the last ones"));
        }
        boolean set = high.first() > 0 || high.last() > 0 || !high.modules().isEmpty();
        if (set && !quantized) {
            problems.add(Problem.warning(
                    "recipe.high_precision",
                    "",
                    "has no effect with recipe " + SettingKeys.word(recipe.kind()),
                    "remove it, or choose fp8, nvfp4 or mxfp4"));
        }
    }

    /** Only weights that all products read as the same codes can be sent as those. */
    static void gathered(RecipeConfig recipe, GradientConfig gradients, List<Problem> problems) {
        boolean coded = recipe.kind() == RecipeConfig.Kind.NVFP4 && recipe.weight2d();
        if (gradients.weights() == WeightFormat.NVFP4 && !coded) {
            problems.add(Problem.error(
                    "parallel.gradients.weights",
                    SettingKeys.word(gradients.weights()),
                    "needs recipe nvfp4 with weight2d, whose products read weights as one set of codes; the recipe is "
                            + SettingKeys.word(recipe.kind()),
                    "set it to exact"));
        }
    }

    private static void lateSwitch(
            RecipeConfig recipe, boolean quantized, @Nullable TrainConfig train, List<Problem> problems) {
        int step = recipe.lateSwitch().step();
        if (step < 0) {
            return;
        }
        if (!quantized) {
            problems.add(Problem.warning(
                    "recipe.late_switch.step",
                    step,
                    "has no effect: recipe " + SettingKeys.word(recipe.kind()) + " has no low-precision GEMM to switch",
                    "set it to -1, or choose fp8, nvfp4 or mxfp4"));
        } else if (train != null && step > train.steps()) {
            problems.add(Problem.warning(
                    "recipe.late_switch.step",
                    step,
                    "is never reached: the run has " + train.steps() + " steps",
                    "use about " + Math.round(0.82 * train.steps()) + " (82% of the run, as in arXiv:2509.25149)"));
        }
    }
}
