package io.fourfold.model;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.op.QuantProbe;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import org.jspecify.annotations.Nullable;

/**
 * One run of the model over one micro-batch: what every layer needs to know.
 *
 * @param type type of the residual stream and the activations
 * @param training false: forward only, nothing is kept for backward
 * @param kept scope of what must outlive the layer: its output and, in training, what its backward reads
 * @param report where training statistics go; null in evaluation
 * @param inspector looks for non-finite values; null normally
 * @param recompute what is not kept but computed again
 * @param memory scopes by their lifetime
 */
record Pass(
        Backend backend,
        DType type,
        DeviceBatch batch,
        StepContext step,
        boolean training,
        TensorScope kept,
        @Nullable MicroBatchReport report,
        @Nullable NonFiniteInspector inspector,
        Recomputation recompute,
        PassMemory memory) {

    /** A pass that keeps everything, in memory of its own. */
    Pass(
            Backend backend,
            DType type,
            DeviceBatch batch,
            StepContext step,
            boolean training,
            TensorScope kept,
            @Nullable MicroBatchReport report,
            @Nullable NonFiniteInspector inspector) {
        this(
                backend,
                type,
                batch,
                step,
                training,
                kept,
                report,
                inspector,
                Recomputation.NONE,
                PassMemory.owned(backend));
    }

    /** A pass of evaluation. */
    Pass(Backend backend, DType type, DeviceBatch batch, StepContext step, TensorScope kept, PassMemory memory) {
        this(backend, type, batch, step, false, kept, null, null, Recomputation.NONE, memory);
    }

    Pass withKept(TensorScope other) {
        return new Pass(backend, type, batch, step, training, other, report, inspector, recompute, memory);
    }

    /** The same training pass for something that will be computed again: keeps nothing for backward. */
    Pass forgetting(TensorScope temporary) {
        return new Pass(backend, type, batch, step, false, temporary, report, inspector, Recomputation.NONE, memory);
    }

    /** The same training pass computing again what was forgotten. */
    Pass replaying() {
        return new Pass(backend, type, batch, step, true, kept, report, inspector, Recomputation.REPLAY, memory);
    }

    Pass withInput(InputAgain again) {
        return new Pass(
                backend, type, batch, step, training, kept, report, inspector, recompute.withInput(again), memory);
    }

    /** A scope for values that die within a layer's forward or backward. */
    TensorScope work() {
        return backend.scope(Region.WORKSPACE);
    }

    int tokens() {
        return batch.tokenCount();
    }

    /** Share of the global batch, the weight of this micro-batch in the auxiliary losses. */
    float share() {
        return (float) batch.samples() / step.globalBatchSize();
    }

    /** Where a sublayer's input must be allocated: {@code kept} when it is not computed again. */
    TensorScope inputScope(TensorScope keptScope, TensorScope work) {
        return recompute.input() == null ? keptScope : work;
    }

    /**
     * A sublayer's input in its backward.
     *
     * @param x what forward got
     * @param scope where it may be computed again
     */
    Tensor input(Tensor x, TensorScope scope) {
        InputAgain again = recompute.input();
        return again == null ? x : again.compute(scope);
    }

    /** Whether what forward reports is to be counted: not when it is computed again. */
    boolean counts() {
        return !recompute.replay();
    }

    @Nullable
    QuantProbe probe(String operand) {
        QuantizationTelemetry telemetry = step.telemetry();
        return telemetry == null ? null : telemetry.probe(operand);
    }

    /** Looks at a tensor when someone is searching for non-finite values. */
    void inspect(String stage, int layer, String name, Tensor tensor) {
        if (inspector != null && tensor.dtype() != DType.INT32) {
            inspector.inspect(stage, layer, name, tensor);
        }
    }
}
