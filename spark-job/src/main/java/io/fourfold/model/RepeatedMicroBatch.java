package io.fourfold.model;

import io.fourfold.kernels.RepeatedWork;
import io.fourfold.kernels.tensor.Tensor;
import java.util.List;
import java.util.Set;

/**
 * Forward and backward of one micro-batch on a rank that has the whole model, as work that comes back every step: the same
 * operations on the same tensors, but for the step's number, which is part of the random bits, and the loss scale.
 */
final class RepeatedMicroBatch implements RepeatedWork {
    private static final int FAR_AWAY = 1 << 20;
    private static final float LARGER = 1.5f;

    /**
     * What the micro-batches of a step have in common.
     *
     * @param chunk the whole model
     * @param firstWrites gradients that hold nothing yet
     * @param operands the prepared weights
     * @param squares told what was written
     * @param microBatches of the step
     * @param switched whether the step is behind the recipe's late switch, so that weights have other formats
     */
    record Shared(
            ModelChunk chunk,
            FirstWrites firstWrites,
            List<Object> operands,
            GradientSquares squares,
            int microBatches,
            boolean switched) {}

    private record Key(
            DeviceBatch batch,
            Tensor report,
            List<Object> operands,
            Set<String> unwritten,
            Set<String> lent,
            long seed,
            int globalBatchSize,
            int microBatches,
            boolean switched) {}

    private final MicroBatch microBatch;
    private final Shared shared;
    private final Set<String> unwritten;
    private long keptBytes;

    /**
     * @param microBatch uploaded
     */
    RepeatedMicroBatch(MicroBatch microBatch, Shared shared) {
        this.microBatch = microBatch;
        this.shared = shared;
        unwritten = shared.firstWrites().names();
    }

    /** Names of the parameters whose gradients held nothing when this came. */
    Set<String> unwritten() {
        return unwritten;
    }

    @Override
    public Object key() {
        DeviceBatch batch = microBatch.device();
        if (batch == null) {
            throw new IllegalStateException("the micro-batch is not uploaded");
        }
        return new Key(
                batch,
                microBatch.report().values(),
                shared.operands(),
                unwritten,
                microBatch.lent(),
                microBatch.step().seed(),
                microBatch.step().globalBatchSize(),
                shared.microBatches(),
                shared.switched());
    }

    @Override
    public int[] numbers() {
        return numbers(microBatch.step().step(), (float) microBatch.step().lossScale());
    }

    @Override
    public int[] otherNumbers() {
        return numbers(
                microBatch.step().step() + FAR_AWAY, (float) microBatch.step().lossScale() * LARGER);
    }

    private static int[] numbers(int step, float lossScale) {
        return new int[] {step, Float.floatToRawIntBits(lossScale)};
    }

    @Override
    public void queue(int[] numbers) {
        StepContext own = microBatch.step();
        StepContext step = new StepContext(
                numbers[0], own.seed(), Float.intBitsToFloat(numbers[1]), own.globalBatchSize(), own.telemetry());
        shared.firstWrites().set(unwritten);
        try (ChunkRun run = new ChunkRun(shared.chunk(), microBatch.with(step))) {
            run.forward();
            keptBytes = run.keptBytes();
            run.backward(null);
        }
    }

    /** The work was queued without {@link #queue}: brings the host to where that would have brought it. */
    void replayed() {
        shared.firstWrites().set(Set.of());
        shared.squares().written(unwritten);
    }

    /** Device bytes that forward kept; 0 when it was not called. */
    long keptBytes() {
        return keptBytes;
    }
}
