package io.fourfold.spark;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.Batch;
import io.fourfold.data.BatchReader;
import io.fourfold.kernels.Backend;
import io.fourfold.train.RunIdentity;
import io.fourfold.train.Trainer;
import org.jspecify.annotations.Nullable;

/**
 * Synthetic data; the second rank hangs as it reads its third batch.
 *
 * @param seconds how long
 * @param stubborn true when an interrupt does not end it, as in native code
 */
record HangingSetup(int seconds, boolean stubborn) implements RankSetup {
    private static final long serialVersionUID = 1;
    private static final int GLOBAL_BATCH = 4;

    private RankSetup healthy() {
        return new SyntheticSetup(-1);
    }

    @Override
    public Accelerator accelerator(FourfoldConfig config, int device) {
        return healthy().accelerator(config, device);
    }

    @Override
    public Backend backend(FourfoldConfig config, int device) {
        return healthy().backend(config, device);
    }

    @Override
    public void probeData(FourfoldConfig config) {
        // synthetic data is everywhere
    }

    @Override
    public BatchReader train(FourfoldConfig config, RunIdentity identity) {
        BatchReader samples = healthy().train(config, identity);
        return new BatchReader() {
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
                if (first % GLOBAL_BATCH >= GLOBAL_BATCH / 2 && first / GLOBAL_BATCH == 2) {
                    waitForADiskThatIsGone();
                }
                return samples.read(first, count, rowIdBase);
            }

            @Override
            public void close() {
                samples.close();
            }
        };
    }

    @Override
    public BatchReader truncated(FourfoldConfig config, RunIdentity identity) {
        return healthy().truncated(config, identity);
    }

    private void waitForADiskThatIsGone() {
        long end = System.nanoTime() + seconds * 1_000_000_000L;
        while (System.nanoTime() < end) {
            try {
                Thread.sleep(100);
            } catch (InterruptedException e) {
                if (!stubborn) {
                    throw new IllegalStateException("interrupted while reading", e);
                }
            }
        }
    }

    @Override
    public @Nullable BatchReader validation(FourfoldConfig config, RunIdentity identity) {
        return healthy().validation(config, identity);
    }

    @Override
    public Trainer.ModelFactory model() {
        return healthy().model();
    }
}
