package io.fourfold.spark;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.Batch;
import io.fourfold.data.BatchReader;
import io.fourfold.data.DataException;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.cpu.CpuBackend;
import io.fourfold.train.RunIdentity;
import io.fourfold.train.SyntheticReader;
import io.fourfold.train.TinyRun;
import io.fourfold.train.Trainer;
import org.jspecify.annotations.Nullable;

/** Synthetic data; the reader of the second half of each global batch fails after some steps. */
record SyntheticSetup(int failAfter) implements RankSetup {
    private static final long serialVersionUID = 1;

    @Override
    public Accelerator accelerator(FourfoldConfig config, int device) {
        return Accelerator.processor();
    }

    @Override
    public Backend backend(FourfoldConfig config, int device) {
        return new CpuBackend(1);
    }

    @Override
    public void probeData(FourfoldConfig config) {
        // synthetic data is everywhere
    }

    @Override
    public BatchReader train(FourfoldConfig config, RunIdentity identity) {
        return new FailingReader(failAfter);
    }

    @Override
    public BatchReader truncated(FourfoldConfig config, RunIdentity identity) {
        throw new DataException("shard 3 ends after 512 of 1024 bytes");
    }

    @Override
    public @Nullable BatchReader validation(FourfoldConfig config, RunIdentity identity) {
        return new SyntheticReader(TinyRun.SEQUENCE, TinyRun.VOCABULARY, 6);
    }

    @Override
    public Trainer.ModelFactory model() {
        return new PreparedDataSetup().model();
    }

    private static final class FailingReader implements BatchReader {
        private static final int GLOBAL_BATCH = 4;

        private final SyntheticReader samples = new SyntheticReader(TinyRun.SEQUENCE, TinyRun.VOCABULARY, 5);
        private final int failAfter;

        FailingReader(int failAfter) {
            this.failAfter = failAfter;
        }

        @Override
        public int sequenceLength() {
            return samples.sequenceLength();
        }

        @Override
        public long samplesPerEpoch() {
            return samples.samplesPerEpoch();
        }

        @Override
        public Batch read(long first, int count, int rowIdBase) {
            boolean secondRank = first % GLOBAL_BATCH >= GLOBAL_BATCH / 2;
            if (failAfter >= 0 && secondRank && first / GLOBAL_BATCH >= failAfter) {
                throw new DataException("shard 7 is corrupt");
            }
            return samples.read(first, count, rowIdBase);
        }

        @Override
        public void close() {
            samples.close();
        }
    }
}
