package io.fourfold.model;

import io.fourfold.config.ModelConfig;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import io.fourfold.metrics.StepMetrics.LayerLoad;
import io.fourfold.parallel.PipelineOperation;
import io.fourfold.parallel.PipelineSchedule;
import io.fourfold.parallel.StageLayout;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The chunks of one pipeline rank and its way to the others. Every rank of the group calls the same methods with the same
 * micro-batches: all read the batches, only activations and their gradients travel. A group of one has all stages and
 * sends nothing.
 */
final class Pipeline {
    private final StageLayout layout;
    private final List<ModelChunk> chunks;
    private final Communicator group;
    private final Backend backend;
    private final Map<Integer, PipelineSchedule> schedules = new HashMap<>();
    private long activationBytes;

    /**
     * @param chunks this rank's, in the order of {@link StageLayout#of(int)}
     * @param group the pipeline group
     */
    Pipeline(StageLayout layout, List<ModelChunk> chunks, Communicator group, Backend backend) {
        this.layout = layout;
        this.chunks = List.copyOf(chunks);
        this.group = group;
        this.backend = backend;
    }

    List<ModelChunk> chunks() {
        return chunks;
    }

    int ranks() {
        return group.size();
    }

    /** Largest activation memory held at once so far, in device bytes. */
    long activationBytes() {
        return activationBytes;
    }

    /**
     * Forward and backward of all micro-batches of a step; adds to the gradients and fills the reports.
     *
     * @param progress told about complete gradients; null = nobody is
     */
    void train(List<MicroBatch> microBatches, @Nullable GradientProgress progress) {
        PipelineSchedule schedule = schedules.computeIfAbsent(
                microBatches.size(), n -> PipelineSchedule.training(layout.ranks(), layout.chunks(), n));
        try (TrainingPipeline run = new TrainingPipeline(chunks, group, microBatches, progress)) {
            for (PipelineOperation operation : schedule.operations(group.rank())) {
                run.execute(operation);
            }
            activationBytes = Math.max(activationBytes, run.peakBytes());
        }
    }

    /**
     * As {@link #train} on a rank that has the whole model and waits for no other while it runs it: each micro-batch is queued
     * as a whole where the backend can, but for the last one when gradients are to be summed meanwhile.
     */
    void trainAlone(
            List<MicroBatch> microBatches, RepeatedMicroBatch.Shared shared, @Nullable GradientProgress progress) {
        for (int i = 0; i < microBatches.size(); i++) {
            boolean last = i == microBatches.size() - 1;
            if (last && progress != null && progress.early()) {
                train(microBatches.subList(i, i + 1), progress);
                return;
            }
            try (TensorScope scope = backend.scope(Region.ACTIVATIONS)) {
                trainAlone(microBatches.get(i).uploaded(scope), shared, scope);
            }
            if (last && progress != null) {
                progress.allDone(shared.chunk());
            }
        }
    }

    /** Several micro-batches report to the same memory, from which each report is copied: so the later ones are alike. */
    private void trainAlone(MicroBatch microBatch, RepeatedMicroBatch.Shared shared, TensorScope scope) {
        MicroBatchReport report = microBatch.report();
        MicroBatchReport told = shared.microBatches() == 1 ? report : report.another(scope);
        RepeatedMicroBatch work = new RepeatedMicroBatch(microBatch.reportingTo(told), shared);
        if (!backend.repeat(work)) {
            work.replayed();
        }
        if (told != report) {
            backend.elementwise().copy(told.values(), report.values());
        }
        activationBytes = Math.max(activationBytes, scope.allocatedBytes() + work.keptBytes());
    }

    /**
     * Forward only.
     *
     * @param passes one for each micro-batch
     * @param ending called on the last stage only
     */
    void evaluate(List<Pass> passes, EvaluationPipeline.Ending ending) {
        PipelineSchedule schedule =
                PipelineSchedule.forwardOnly(layout.ranks(), layout.chunks(), Math.max(1, passes.size()));
        try (EvaluationPipeline run = new EvaluationPipeline(chunks, group, passes, ending)) {
            for (PipelineOperation operation : schedule.operations(group.rank())) {
                run.execute(operation);
            }
        }
    }

    /** Brings the load of all stages together; collective. */
    List<LayerLoad> merge(ModelConfig model, List<LayerLoad> mine) {
        return new LoadExchange(model, layout, group, backend).merge(mine);
    }

    /** Sums the gradients of a tied embedding and its copy; collective. */
    void sumTiedGradients(ParameterStore store) {
        TiedEmbedding.sumGradients(store, group, backend);
    }

    /** The values of the rank with the last stage, bit for bit, on every rank. */
    double[] fromLastStage(double[] values) {
        if (ranks() == 1) {
            return values;
        }
        int[] words = new int[2 * values.length];
        for (int i = 0; i < values.length; i++) {
            long bits = Double.doubleToRawLongBits(values[i]);
            words[2 * i] = (int) (bits >>> 32);
            words[2 * i + 1] = (int) bits;
        }
        try (TensorScope scope = backend.scope(Region.WORKSPACE)) {
            Tensor tensor = scope.allocate(DType.INT32, words.length);
            backend.upload(words, tensor);
            group.broadcast(tensor, ranks() - 1);
            int[] received = backend.downloadInts(tensor);
            double[] result = new double[values.length];
            for (int i = 0; i < result.length; i++) {
                result[i] = Double.longBitsToDouble((long) received[2 * i] << 32 | received[2 * i + 1] & 0xffffffffL);
            }
            return result;
        }
    }
}
