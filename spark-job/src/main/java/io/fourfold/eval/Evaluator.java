package io.fourfold.eval;

import io.fourfold.data.Batch;
import io.fourfold.data.BatchReader;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import io.fourfold.metrics.EvalMetrics;
import java.util.Arrays;

/**
 * Mean loss per counted label on the first samples of a stream, split over the data parallel ranks.
 *
 * <p>Micro-batch i holds samples [i * size, (i + 1) * size) at any number of ranks, and the sums are added in the order of
 * the micro-batches in FP64, so the result does not depend on how many ranks there are. Every rank runs the model equally
 * often, since experts on other ranks need it to; places without samples carry no labels.
 */
public final class Evaluator {
    private final LossModel model;
    private final BatchReader reader;
    private final int microBatchSize;
    private final Backend backend;
    private final Communicator dataParallel;

    /**
     * @param microBatchSize samples of one forward pass
     * @param dataParallel the ranks that share the samples
     */
    public Evaluator(
            LossModel model, BatchReader reader, int microBatchSize, Backend backend, Communicator dataParallel) {
        if (microBatchSize < 1) {
            throw new IllegalArgumentException("microBatchSize " + microBatchSize + " must be at least 1");
        }
        this.model = model;
        this.reader = reader;
        this.microBatchSize = microBatchSize;
        this.backend = backend;
        this.dataParallel = dataParallel;
    }

    /**
     * Evaluates; collective.
     *
     * @param step training step that the result is for
     * @param samples how many; at most one pass over the stream is taken
     */
    public EvalMetrics run(int step, long samples) {
        long start = System.nanoTime();
        long count = Math.min(samples, reader.samplesPerEpoch());
        if (count < 1) {
            throw new IllegalArgumentException("nothing to evaluate: " + samples + " samples asked for, the stream has "
                    + reader.samplesPerEpoch() + ". Raise data.validation_fraction or train.eval_samples");
        }
        int ranks = dataParallel.size();
        int rounds = Math.toIntExact((count + (long) ranks * microBatchSize - 1) / ((long) ranks * microBatchSize));
        double[] mine = new double[2 * rounds];
        for (int round = 0; round < rounds; round++) {
            long first = ((long) round * ranks + dataParallel.rank()) * microBatchSize;
            Batch batch = keepFirst(reader.read(first, microBatchSize, 0), count - first);
            mine[2 * round] = model.evaluate(batch);
            mine[2 * round + 1] = batch.labelCount();
        }
        double[] all = gather(mine);
        double loss = 0;
        double labels = 0;
        for (int round = 0; round < rounds; round++) {
            for (int rank = 0; rank < ranks; rank++) {
                int at = 2 * (rank * rounds + round);
                loss += all[at];
                labels += all[at + 1];
            }
        }
        if (labels == 0) {
            throw new IllegalArgumentException(
                    "none of the " + count + " samples has a label that counts: the loss is undefined");
        }
        return new EvalMetrics(step, loss / labels, (long) labels, (System.nanoTime() - start) * 1e-9);
    }

    /** The batch with labels on its first samples only. */
    private static Batch keepFirst(Batch batch, long keep) {
        if (keep >= batch.samples()) {
            return batch;
        }
        int[] labels = batch.labels().clone();
        Arrays.fill(labels, (int) Math.max(0, keep) * batch.sequenceLength(), labels.length, -1);
        return new Batch(
                batch.samples(),
                batch.sequenceLength(),
                batch.tokens(),
                labels,
                batch.documentStart(),
                batch.positions(),
                batch.rowIds());
    }

    /** Every rank's values by rank; FP64 travels as pairs of INT32. */
    private double[] gather(double[] values) {
        if (dataParallel.size() == 1) {
            return values;
        }
        int[] words = new int[2 * values.length];
        for (int i = 0; i < values.length; i++) {
            long bits = Double.doubleToRawLongBits(values[i]);
            words[2 * i] = (int) (bits >>> 32);
            words[2 * i + 1] = (int) bits;
        }
        try (TensorScope scope = backend.scope(Region.WORKSPACE)) {
            Tensor send = scope.allocate(DType.INT32, words.length);
            Tensor receive = scope.allocate(DType.INT32, words.length * dataParallel.size());
            backend.upload(words, send);
            dataParallel.allGather(send, receive);
            int[] received = backend.downloadInts(receive);
            double[] all = new double[values.length * dataParallel.size()];
            for (int i = 0; i < all.length; i++) {
                all[i] = Double.longBitsToDouble((long) received[2 * i] << 32 | received[2 * i + 1] & 0xffffffffL);
            }
            return all;
        }
    }
}
