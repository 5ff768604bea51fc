package io.fourfold.spark;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.Batch;
import io.fourfold.data.BatchReader;
import io.fourfold.kernels.Backend;
import io.fourfold.train.RunIdentity;
import io.fourfold.train.Trainer;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import org.apache.spark.BarrierTaskContext;
import org.apache.spark.SparkEnv;
import org.jspecify.annotations.Nullable;

/** Synthetic data; every reader of training data notes which samples it gave, for {@link ReadLog}. */
record RecordingSetup(String folder) implements RankSetup {
    private static final long serialVersionUID = 1;

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
        healthy().probeData(config);
    }

    @Override
    public BatchReader train(FourfoldConfig config, RunIdentity identity) {
        BarrierTaskContext task = BarrierTaskContext.get();
        // Applications and their stages have ascending names.
        String gang =
                "%s-%05d-%d".formatted(SparkEnv.get().conf().getAppId(), task.stageId(), task.stageAttemptNumber());
        Path file = Path.of(folder, gang, Integer.toString(task.partitionId()));
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
                note(file, first + " " + count + "\n");
                return samples.read(first, count, rowIdBase);
            }

            @Override
            public void close() {
                samples.close();
            }
        };
    }

    private static void note(Path file, String line) {
        try {
            Files.createDirectories(file.getParent());
            Files.writeString(file, line, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Override
    public BatchReader truncated(FourfoldConfig config, RunIdentity identity) {
        return healthy().truncated(config, identity);
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
