package io.fourfold.spark;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.BatchReader;
import io.fourfold.kernels.Backend;
import io.fourfold.train.RunIdentity;
import io.fourfold.train.Trainer;
import java.util.Map;
import org.apache.spark.SparkEnv;
import org.jspecify.annotations.Nullable;

/**
 * Ranks that need the GPU address of a discovery script and then compute on the processor.
 *
 * @param isolated false when all executors see the same GPUs, as on YARN without isolation
 */
record FakeGpuSetup(boolean isolated) implements RankSetup {
    private static final long serialVersionUID = 1;

    private RankSetup processor() {
        return new SyntheticSetup(-1);
    }

    @Override
    public Accelerator accelerator(FourfoldConfig config, int device) {
        if (device == AssignedGpu.NONE) {
            throw new IllegalStateException("Spark gave this task no GPU");
        }
        String owner = isolated ? "executor " + SparkEnv.get().executorId() + " " : "";
        return new Accelerator("GPU-" + owner + device, Map.of("backend", "fake"));
    }

    @Override
    public Backend backend(FourfoldConfig config, int device) {
        return processor().backend(config, device);
    }

    @Override
    public void probeData(FourfoldConfig config) {
        processor().probeData(config);
    }

    @Override
    public BatchReader train(FourfoldConfig config, RunIdentity identity) {
        return processor().train(config, identity);
    }

    @Override
    public BatchReader truncated(FourfoldConfig config, RunIdentity identity) {
        return processor().truncated(config, identity);
    }

    @Override
    public @Nullable BatchReader validation(FourfoldConfig config, RunIdentity identity) {
        return processor().validation(config, identity);
    }

    @Override
    public Trainer.ModelFactory model() {
        return processor().model();
    }
}
