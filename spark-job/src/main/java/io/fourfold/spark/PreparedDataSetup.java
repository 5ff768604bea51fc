package io.fourfold.spark;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.Problem;
import io.fourfold.config.VersionLimits;
import io.fourfold.data.BatchReader;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.cpu.CpuBackend;
import io.fourfold.kernels.cuda.CudaBackend;
import io.fourfold.kernels.cuda.CudaDevice;
import io.fourfold.kernels.cuda.CudaIdentity;
import io.fourfold.model.MoeTransformer;
import io.fourfold.spark.prep.PreparedData;
import io.fourfold.spark.prep.PreparedDataProbe;
import io.fourfold.train.RunIdentity;
import io.fourfold.train.TrainableModel;
import io.fourfold.train.Trainer;
import io.fourfold.train.TrainingException;
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
    public Accelerator accelerator(FourfoldConfig config, int device) {
        return usesGpu(config, device) ? Accelerator.gpu(CudaIdentity.of(device)) : Accelerator.processor();
    }

    @Override
    public Backend backend(FourfoldConfig config, int device) {
        return usesGpu(config, device)
                ? new CudaBackend(device)
                : new CpuBackend(config.run().cpuThreads());
    }

    private static boolean usesGpu(FourfoldConfig config, int device) {
        return switch (config.run().backend()) {
            case CPU -> false;
            case CUDA -> {
                if (device == AssignedGpu.NONE) {
                    throw new TrainingException(
                            TrainingException.Code.TRAIN_LAUNCH,
                            "run.backend is cuda, but Spark gave this task no GPU. Set spark.executor.resource.gpu.amount"
                                    + " and the discovery script (see docs/clusters.md), or run.backend=cpu.");
                }
                yield true;
            }
            case AUTO -> {
                String reason = whyNoGpu(config, device);
                if (reason != null) {
                    LOG.info("run.backend is auto and takes the CPU: {}", reason);
                }
                yield reason == null;
            }
        };
    }

    private static @Nullable String whyNoGpu(FourfoldConfig config, int device) {
        if (device == AssignedGpu.NONE) {
            return "Spark gave this task no GPU";
        }
        List<Problem> limits = VersionLimits.cudaProblems(config);
        return limits.isEmpty()
                ? CudaDevice.unavailableBecause()
                : limits.get(0).rule();
    }

    @Override
    public void probeData(FourfoldConfig config) {
        PreparedDataProbe.check(config, "train", SparkHadoopUtil.get().conf());
        if (config.data().validationFraction() > 0) {
            PreparedDataProbe.check(config, "validation", SparkHadoopUtil.get().conf());
        }
    }

    @Override
    public BatchReader train(FourfoldConfig config, RunIdentity identity) {
        return open(config, identity, "train");
    }

    @Override
    public BatchReader truncated(FourfoldConfig config, RunIdentity identity) {
        return TruncatedData.open(config, folder -> open(folder, identity, "train"));
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
