package io.fourfold.train;

import io.fourfold.config.TrainConfig;
import io.fourfold.data.Batch;
import io.fourfold.data.BatchReader;
import io.fourfold.kernels.Backend;
import io.fourfold.metrics.EvalMetrics;
import io.fourfold.optim.FixedOrderSums;
import io.fourfold.parallel.Axis;
import io.fourfold.parallel.ProcessGroups;
import java.util.Arrays;

/**
 * Mean loss on the first {@code eval_samples} of the validation stream, split over the data parallel ranks. All ranks run
 * the same number of forward passes (experts need every rank); places beyond the last sample run without labels.
 */
final class Validation {
    private final TrainableModel model;
    private final BatchReader reader;
    private final Backend backend;
    private final ProcessGroups groups;
    private final long samples;
    private final int micro;

    Validation(TrainableModel model, BatchReader reader, TrainConfig train, Backend backend, ProcessGroups groups) {
        this.model = model;
        this.reader = reader;
        this.backend = backend;
        this.groups = groups;
        samples = Math.min(train.evalSamples(), reader.samplesPerEpoch());
        micro = train.microBatchSize();
    }

    /** Collective. */
    EvalMetrics run(int step) {
        long start = System.nanoTime();
        int data = groups.mapping().data();
        int coordinate = groups.mapping().coordinate(Axis.DP, groups.rank());
        double loss = 0;
        long labels = 0;
        for (long base = 0; base < samples; base += (long) data * micro) {
            long first = base + (long) coordinate * micro;
            Batch batch = keepFirst(reader.read(first, micro, 0), samples - first);
            loss += model.evaluate(batch);
            labels += batch.labelCount();
        }
        double[] sums = FixedOrderSums.sum(backend, groups.get(Axis.DP), loss, labels);
        return new EvalMetrics(step, sums[0] / sums[1], (long) sums[1], (System.nanoTime() - start) * 1e-9);
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
}
