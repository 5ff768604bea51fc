package io.fourfold.train;

import io.fourfold.config.TrainConfig;
import io.fourfold.data.Batch;
import io.fourfold.data.BatchReader;
import io.fourfold.parallel.Axis;
import io.fourfold.parallel.ParallelMapping;
import java.util.ArrayList;
import java.util.List;

/**
 * This rank's share of each global batch. The batch of a step is the next {@code global_batch_size} samples of the stream
 * whatever the number of ranks; data parallel rank c takes the c-th contiguous part, cut into micro-batches.
 */
final class GlobalBatch {
    private final BatchReader reader;
    private final int samples;
    private final int perRank;
    private final int micro;
    private final int coordinate;

    GlobalBatch(BatchReader reader, TrainConfig train, ParallelMapping mapping, int rank) {
        this.reader = reader;
        samples = train.globalBatchSize();
        micro = train.microBatchSize();
        if (samples % (mapping.data() * micro) != 0) {
            throw new TrainingException(
                    TrainingException.Code.TRAIN_SETUP,
                    "train.global_batch_size " + samples + " is not a multiple of data parallel ranks ("
                            + mapping.data() + ") x micro_batch_size (" + micro + "); use a multiple of "
                            + mapping.data() * micro);
        }
        perRank = samples / mapping.data();
        coordinate = mapping.coordinate(Axis.DP, rank);
    }

    int samples() {
        return samples;
    }

    long tokens() {
        return (long) samples * reader.sequenceLength();
    }

    /**
     * This rank's micro-batches.
     *
     * @param consumed samples of the stream that earlier steps took
     */
    List<Batch> read(long consumed) {
        List<Batch> batches = new ArrayList<>(perRank / micro);
        for (int i = 0; i < perRank; i += micro) {
            int place = coordinate * perRank + i;
            batches.add(reader.read(consumed + place, micro, place * reader.sequenceLength()));
        }
        return batches;
    }
}
