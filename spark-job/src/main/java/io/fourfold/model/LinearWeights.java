package io.fourfold.model;

import io.fourfold.parallel.Stage;
import io.fourfold.precision.LinearKind;
import io.fourfold.precision.Recipe;
import java.util.EnumMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;

/** Names of the parameters that are weights of the linear layers whose precision a recipe decides. */
final class LinearWeights {
    private static final Map<LinearKind, String> WITHIN_BLOCK = new EnumMap<>(Map.of(
            LinearKind.QKV, "attention.qkv",
            LinearKind.ATTENTION_OUTPUT, "attention.o",
            LinearKind.FFN_UP, "ffn.up",
            LinearKind.FFN_DOWN, "ffn.down",
            LinearKind.EXPERT_UP, "moe.experts.up",
            LinearKind.EXPERT_DOWN, "moe.experts.down",
            LinearKind.SHARED_UP, "moe.shared.up",
            LinearKind.SHARED_DOWN, "moe.shared.down"));

    private LinearWeights() {}

    static String name(int layer, LinearKind kind) {
        return ParameterDeclarations.local(layer, Objects.requireNonNull(WITHIN_BLOCK.get(kind)));
    }

    /** All that may be on some stages and that the recipe does not keep in high precision. */
    static Set<String> lowPrecision(List<Stage> stages, Recipe recipe) {
        Set<String> names = new HashSet<>();
        for (Stage stage : stages) {
            for (int layer = stage.firstLayer(); layer < stage.endLayer(); layer++) {
                for (LinearKind kind : LinearKind.values()) {
                    if (!recipe.isHighPrecision(layer, kind)) {
                        names.add(name(layer, kind));
                    }
                }
            }
        }
        return names;
    }
}
