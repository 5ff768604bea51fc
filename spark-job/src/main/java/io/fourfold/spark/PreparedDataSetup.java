package io.fourfold.spark;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.Problem;
import io.fourfold.config.VersionLimits;
import io.fourfold.data.BatchReader;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.cpu.CpuBackend;
import io.fourfold.kernels.cuda.CudaBackend;
import io.fourfold.kernels.cuda.CudaDevice;
import io.fourfold.model.MoeTransformer;
import io.fourfold.spark.prep.PreparedData;
import io.fourfold.train.RunIdentity;
import io.fourfold.train.TrainableModel;
import io.fourfold.train.Trainer;
import java.util.List;
import org.apache.spark.deploy.SparkHadoopUtil;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** The decoder on the configured backend, fed from the prepared shards. */
final class PreparedDataSetup implements RankSetup {
    private static final long serialVersionUID = 1;
    private static final Logger LOG = LoggerFactory.getLogger(PreparedDataSetup.class);

    @Override
    public Backend backend(FourfoldConfig config) {
        return switch (config.run().backend()) {
            case CPU -> new CpuBackend(config.run().cpuThreads());
            case CUDA -> new CudaBackend(0);
            case AUTO -> automatic(config);
        };
    }

    private static Backend automatic(FourfoldConfig config) {
        List<Problem> limits = VersionLimits.cudaProblems(config);
        String reason = limits.isEmpty()
                ? CudaDevice.unavailableBecause()
                : limits.get(0).rule();
        if (reason == null) {
            return new CudaBackend(0);
        }
        LOG.info("run.backend is auto and takes the CPU: {}", reason);
        return new CpuBackend(config.run().cpuThreads());
    }

    @Override
    public BatchReader train(FourfoldConfig config, RunIdentity identity) {
        return open(config, identity, "train");
    }

    @Override
    public @Nullable BatchReader validation(FourfoldConfig config, RunIdentity identity) {
        return config.data().validationFraction() > 0 ? open(config, identity, "validation") : null;
    }

    @Override
    public Trainer.ModelFactory model() {
        return (inputs, groups) -> TrainableModel.of(MoeTransformer.create(inputs.config(), inputs.backend(), groups));
    }

    private static BatchReader open(FourfoldConfig config, RunIdentity identity, String split) {
        String fingerprint = identity.tokenizerFingerprint().isEmpty() ? null : identity.tokenizerFingerprint();
        return PreparedData.open(
                config, fingerprint, split, SparkHadoopUtil.get().conf());
    }
}
