package io.fourfold.model;

import io.fourfold.kernels.op.OperandCopy;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.QuantProbe;
import io.fourfold.kernels.op.RandomStream;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.precision.LinearKind;
import io.fourfold.precision.LinearPrecision;
import io.fourfold.precision.Recipe;
import java.util.function.IntFunction;
import org.jspecify.annotations.Nullable;

/**
 * Name, formats and random streams of one linear layer.
 *
 * @param name in telemetry, for example {@code layers.3.expert_up}
 * @param tensorId names the layer in random streams; grouped layers use the following ids up to the number of experts
 * @param byStep formats at a training step
 */
record LinearFormats(String name, int tensorId, IntFunction<LinearPrecision> byStep) {
    /** Room for expert indices between two tensor ids: the largest number of experts. */
    static final int MAX_EXPERTS = 4096;

    static LinearFormats of(Recipe recipe, int layer, LinearKind kind) {
        int tensorId = (layer * LinearKind.values().length + kind.ordinal()) * MAX_EXPERTS;
        return new LinearFormats(
                ParameterNames.layer(layer) + kind.key(), tensorId, step -> recipe.linear(layer, kind, step));
    }

    /** A layer outside the recipe that is never rounded (router, gate of the shared expert). */
    static LinearFormats exact(String name) {
        LinearPrecision precision = LinearPrecision.uniform(OperandSpec.FP32);
        return new LinearFormats(name, 0, step -> precision);
    }

    /** Telemetry of an operand such as {@code fprop.x}; null when it is not quantized or the step is not sampled. */
    @Nullable
    QuantProbe probe(StepContext step, String operand, OperandSpec spec) {
        QuantizationTelemetry telemetry = step.telemetry();
        return telemetry == null || !spec.quantized() ? null : telemetry.probe(name + "." + operand);
    }

    /** How an operand of a weight is made; nothing in it is random. */
    OperandCopy weightCopy(WeightPreparation preparation, String operand, OperandSpec spec) {
        return new OperandCopy(spec, null, probe(preparation.step(), operand, spec), preparation.scope());
    }

    /** Random bits of an operand; null when it is rounded to nearest. */
    @Nullable
    RandomStream random(StepContext step, OperandSpec spec, Tensor rowIds) {
        return random(step, spec, rowIds, null);
    }

    /** The same for some columns of a wider operand, see {@link WeightSplit#outputGroups}. */
    @Nullable
    RandomStream random(StepContext step, OperandSpec spec, Tensor rowIds, @Nullable Tensor columnGroups) {
        return spec.rounding() == OperandSpec.Rounding.STOCHASTIC
                ? new RandomStream(step.seed(), step.step(), tensorId, rowIds, columnGroups)
                : null;
    }
}
