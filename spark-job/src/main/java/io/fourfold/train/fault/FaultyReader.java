package io.fourfold.train.fault;

import io.fourfold.config.FaultSpec;
import io.fourfold.data.Batch;
import io.fourfold.data.BatchReader;
import java.util.List;
import java.util.function.Supplier;

/** A reader whose data turn out to be truncated at some step. */
final class FaultyReader implements BatchReader {
    private final BatchReader reader;
    private final Supplier<BatchReader> truncated;
    private final List<FaultSpec> faults;
    private final FaultMemory memory;
    private final int globalBatch;

    FaultyReader(
            BatchReader reader,
            Supplier<BatchReader> truncated,
            List<FaultSpec> faults,
            FaultMemory memory,
            int globalBatch) {
        this.reader = reader;
        this.truncated = truncated;
        this.faults = faults;
        this.memory = memory;
        this.globalBatch = globalBatch;
    }

    @Override
    public int sequenceLength() {
        return reader.sequenceLength();
    }

    @Override
    public long samplesPerEpoch() {
        return reader.samplesPerEpoch();
    }

    @Override
    public Batch read(long first, int count, int rowIdBase) {
        int step = Math.toIntExact(first / globalBatch + 1);
        for (FaultSpec fault : faults) {
            if (step >= fault.step() && memory.take(fault, step)) {
                try (BatchReader broken = truncated.get()) {
                    return broken.read(first, count, rowIdBase);
                }
            }
        }
        return reader.read(first, count, rowIdBase);
    }

    @Override
    public void close() {
        reader.close();
    }
}
