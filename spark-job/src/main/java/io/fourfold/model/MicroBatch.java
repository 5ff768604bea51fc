package io.fourfold.model;

import io.fourfold.data.Batch;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * One micro-batch of a training step on this rank.
 *
 * @param type of the residual stream and the activations
 * @param inspector looks for non-finite values; null normally
 * @param recompute what is not kept but computed again
 * @param device the batch where it is uploaded already; null = a pass uploads it
 * @param lent names of the parameters whose gradients' memory the micro-batch may use until it writes them
 */
record MicroBatch(
        BatchUpload upload,
        DType type,
        Batch batch,
        StepContext step,
        MicroBatchReport report,
        @Nullable DeviceBatch device,
        @Nullable NonFiniteInspector inspector,
        Recomputation recompute,
        Set<String> lent) {
    MicroBatch {
        lent = Set.copyOf(lent);
    }

    Backend backend() {
        return upload.backend();
    }

    /** A training pass with the batch uploaded to {@code kept}, unless it is on the device already. */
    Pass pass(TensorScope kept, PassMemory memory) {
        DeviceBatch there = device == null ? upload.upload(batch, kept) : device;
        return new Pass(backend(), type, there, step, true, kept, report, inspector, recompute, memory);
    }

    /** The same, uploaded to {@code scope}. */
    MicroBatch uploaded(TensorScope scope) {
        DeviceBatch there = upload.upload(batch, scope);
        return new MicroBatch(upload, type, batch, step, report, there, inspector, recompute, lent);
    }

    /** The same with another report. */
    MicroBatch reportingTo(MicroBatchReport other) {
        return new MicroBatch(upload, type, batch, step, other, device, inspector, recompute, lent);
    }

    /** The same with other numbers of the step. */
    MicroBatch with(StepContext other) {
        return new MicroBatch(upload, type, batch, other, report, device, inspector, recompute, lent);
    }
}
