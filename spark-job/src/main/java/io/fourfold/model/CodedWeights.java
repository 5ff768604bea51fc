package io.fourfold.model;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.WeightFormat;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.comm.ReduceOp;
import io.fourfold.kernels.op.AmaxExchange;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.tensor.TensorScope;
import io.fourfold.parallel.Axis;
import io.fourfold.parallel.ProcessGroups;
import io.fourfold.parallel.Stage;
import io.fourfold.precision.Recipe;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Function;
import java.util.function.IntPredicate;
import org.jspecify.annotations.Nullable;

/**
 * Which weights the optimizer may gather as codes: those of linear layers that the recipe quantizes to NVFP4 in blocks of
 * 16 x 16, forward and backward alike.
 *
 * @param names of parameters
 * @param usable the steps whose products read nothing else of them
 * @param split the ranks that hold other parts of a kind's matrices; null = none
 */
record CodedWeights(
        Set<String> names,
        OperandSpec spec,
        IntPredicate usable,
        Function<Parameter.Kind, @Nullable AmaxExchange> split) {
    /** Null when all weights travel as they are. */
    static @Nullable CodedWeights of(FourfoldConfig config, Recipe recipe, List<Stage> stages, ProcessGroups groups) {
        return of(config, recipe, stages, (Parameter.Kind kind) -> {
            Communicator group = groups.get(kind == Parameter.Kind.EXPERT ? Axis.ETP : Axis.TP);
            return group.size() == 1 ? null : amax -> group.allReduce(amax, ReduceOp.MAX);
        });
    }

    static @Nullable CodedWeights of(
            FourfoldConfig config,
            Recipe recipe,
            List<Stage> stages,
            Function<Parameter.Kind, @Nullable AmaxExchange> split) {
        OperandSpec spec = recipe.codedWeights();
        if (config.parallel().gradients().weights() == WeightFormat.EXACT || spec == null) {
            return null;
        }
        return new CodedWeights(
                LinearWeights.lowPrecision(stages, recipe),
                spec,
                step -> !recipe.isSwitched(step) && !recipe.isTelemetryStep(step),
                split);
    }

    /**
     * What of a kind travels as codes.
     *
     * @return null where nothing does, or there is nobody to send it to
     */
    @Nullable
    CodeLayout layout(ParameterStore.Builder declared, Parameter.Kind kind, int ranks) {
        List<CodeLayout.Weight> all = declared.places(kind);
        if (ranks == 1 || all.isEmpty()) {
            return null;
        }
        CodeLayout.Weight last = all.get(all.size() - 1);
        long elements = ParameterStore.padded(last.offset() + last.shape().elements(), ranks);
        CodeLayout layout = CodeLayout.of(
                all.stream().filter(weight -> names.contains(weight.name())).toList(),
                declared.sharding(elements, ranks));
        return layout.words() == 0 ? null : layout;
    }

    /**
     * Room for the codes.
     *
     * @param replicas the ranks over which each kind's optimizer state is split
     */
    GatheredCodes allocate(
            ParameterStore.Builder declared, Map<Parameter.Kind, Communicator> replicas, TensorScope scope) {
        GatheredCodes codes = new GatheredCodes(usable);
        replicas.forEach((kind, ranks) -> {
            CodeLayout layout = layout(declared, kind, ranks.size());
            if (layout != null) {
                codes.put(kind, WeightCodes.allocate(layout, spec, split.apply(kind), scope));
            }
        });
        return codes;
    }
}
