package io.fourfold.model;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.ModelConfig;
import io.fourfold.parallel.ParallelMapping;
import io.fourfold.parallel.Stage;
import io.fourfold.parallel.StageLayout;
import io.fourfold.precision.Recipe;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;

/** Which weights travel as codes, from the configuration alone. */
public final class CodeLayouts {
    private CodeLayouts() {}

    /**
     * Of the ranks with coordinate {@code pipelineRank} in the pipeline group.
     *
     * @return the kinds that have codes
     */
    public static Map<Parameter.Kind, CodeLayout> of(FourfoldConfig config, int pipelineRank) {
        ModelConfig model = config.model();
        ParallelMapping mapping = ParallelMapping.of(config.parallel());
        List<Stage> stages = StageLayout.of(model, config.parallel()).of(pipelineRank);
        int experts = model.moe() == null ? 0 : model.moe().experts() / mapping.expert();
        ParameterDeclarations declarations =
                new ParameterDeclarations(model, stages, 0, mapping.tensor(), 0, experts, 0, mapping.expertTensor());
        Map<Parameter.Kind, CodeLayout> layouts = new EnumMap<>(Parameter.Kind.class);
        CodedWeights coded = CodedWeights.of(config, Recipe.of(config.recipe(), model.layers()), stages, kind -> null);
        if (coded == null) {
            return layouts;
        }
        ParameterStore.Builder builder = new ParameterStore.Builder()
                .buckets(config.parallel().gradients().bucketElements());
        declarations.declare(builder);
        for (Parameter.Kind kind : Parameter.Kind.values()) {
            CodeLayout layout = coded.layout(builder, kind, mapping.size(kind.replicas()));
            if (layout != null) {
                layouts.put(kind, layout);
            }
        }
        return layouts;
    }
}
