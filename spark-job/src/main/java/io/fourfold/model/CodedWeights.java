package io.fourfold.model;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.ModelConfig;
import io.fourfold.config.WeightFormat;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.comm.ReduceOp;
import io.fourfold.kernels.op.AmaxExchange;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.parallel.Axis;
import io.fourfold.parallel.ParallelMapping;
import io.fourfold.parallel.ProcessGroups;
import io.fourfold.parallel.Stage;
import io.fourfold.parallel.StageLayout;
import io.fourfold.precision.Recipe;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.IntPredicate;
import org.jspecify.annotations.Nullable;

/**
 * Which weights the optimizer may gather as codes: those of linear layers that the recipe quantizes to NVFP4 in blocks of
 * 16 x 16, forward and backward alike.
 *
 * @param names of parameters
 * @param usable the steps whose products read nothing else of them
 */
public record CodedWeights(Set<String> names, OperandSpec spec, IntPredicate usable) {
    /** Null when all weights travel as they are. */
    static @Nullable CodedWeights of(FourfoldConfig config, Recipe recipe, ParameterDeclarations declarations) {
        OperandSpec spec = recipe.codedWeights();
        if (config.parallel().gradients().weights() == WeightFormat.EXACT || spec == null) {
            return null;
        }
        return new CodedWeights(
                declarations.weights(recipe), spec, step -> !recipe.isSwitched(step) && !recipe.isTelemetryStep(step));
    }

    /** The ranks that hold other parts of a kind's matrices. */
    static @Nullable AmaxExchange split(Parameter.Kind kind, ProcessGroups groups) {
        Communicator group = groups.get(kind == Parameter.Kind.EXPERT ? Axis.ETP : Axis.TP);
        return group.size() == 1 ? null : amax -> group.allReduce(amax, ReduceOp.MAX);
    }

    /**
     * What travels as codes and what as it is, from the configuration alone.
     *
     * @param pipelineRank of the ranks with that coordinate
     * @return only the kinds that have codes
     */
    public static Map<Parameter.Kind, CodeLayout> layouts(FourfoldConfig config, int pipelineRank) {
        ModelConfig model = config.model();
        ParallelMapping mapping = ParallelMapping.of(config.parallel());
        List<Stage> stages = StageLayout.of(model, config.parallel()).of(pipelineRank);
        int experts = model.moe() == null ? 0 : model.moe().experts() / mapping.expert();
        ParameterDeclarations declarations =
                new ParameterDeclarations(model, stages, 0, mapping.tensor(), 0, experts, 0, mapping.expertTensor());
        CodedWeights coded = of(config, Recipe.of(config.recipe(), model.layers()), declarations);
        Map<Parameter.Kind, CodeLayout> layouts = new EnumMap<>(Parameter.Kind.class);
        if (coded == null) {
            return layouts;
        }
        ParameterStore.Builder builder = new ParameterStore.Builder();
        declarations.declare(builder);
        for (Parameter.Kind kind : Parameter.Kind.values()) {
            CodeLayout layout = builder.codeLayout(kind, coded.names, mapping.size(kind.replicas()));
            if (layout != null) {
                layouts.put(kind, layout);
            }
        }
        return layouts;
    }
}
