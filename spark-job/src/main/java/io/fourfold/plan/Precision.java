package io.fourfold.plan;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.plan.ModelTensors.GlobalTensor;
import io.fourfold.precision.LinearKind;
import io.fourfold.precision.Recipe;
import java.util.Locale;

/**
 * What the recipe does to the linear layers.
 *
 * @param recipe its name
 * @param linearWeights elements of all linear layers' weights
 * @param highPrecision those that stay in BF16 (FP32 in the fp32 recipe) in the forward pass at the first step
 */
public record Precision(String recipe, long linearWeights, long highPrecision) {
    /** Part of the linear weights in high precision, 0..1. */
    public double highPrecisionShare() {
        return linearWeights == 0 ? 1 : (double) highPrecision / linearWeights;
    }

    static Precision of(FourfoldConfig config) {
        Recipe recipe = Recipe.of(config.recipe(), config.model().layers());
        long linear = 0;
        long high = 0;
        for (GlobalTensor tensor : ModelTensors.of(config.model())) {
            LinearKind kind = tensor.linear();
            if (kind != null) {
                linear += tensor.elements();
                boolean low = recipe.linear(tensor.layer(), kind, 0).fpropW().quantized();
                high += low ? 0 : tensor.elements();
            }
        }
        return new Precision(config.recipe().kind().name().toLowerCase(Locale.ROOT), linear, high);
    }
}
