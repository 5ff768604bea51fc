package io.fourfold.hf;

import io.fourfold.config.AttentionConfig;
import io.fourfold.config.FfnConfig;
import io.fourfold.config.ModelConfig;
import io.fourfold.config.ModelConfig.HfFamily;
import io.fourfold.config.MoeConfig;
import io.fourfold.config.RouterConfig;
import io.fourfold.config.SharedExpertConfig;
import io.fourfold.kernels.op.Activation;
import io.fourfold.kernels.op.RouterSpec;
import java.nio.file.Path;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** Tiny models of each family, other variants than the golden ones, and a program that exports them. */
final class ExportedModels {
    private static final int SHARD_BYTES = 100_000;

    private ExportedModels() {}

    static List<ModelConfig> all() {
        return List.of(mixtral(), qwen2(), qwen3());
    }

    /** A head width of its own; written with Qwen's order of softmax and top-k, which is the same when normalised. */
    static ModelConfig mixtral() {
        AttentionConfig attention = new AttentionConfig(4, 1, 16, false, false, 10_000);
        MoeConfig moe = moe(5, 2, 24, RouterSpec.Score.SOFTMAX_TOP_K, true, null, List.of(), 1);
        return model("mixtral", HfFamily.MIXTRAL, 2, attention, null, moe, true, 1e-6);
    }

    /** No biases, weights normalised, dense blocks by step and by list. */
    static ModelConfig qwen2() {
        AttentionConfig attention = new AttentionConfig(4, 2, 8, false, false, 1_000_000);
        MoeConfig moe =
                moe(4, 2, 24, RouterSpec.Score.TOP_K_SOFTMAX, false, new SharedExpertConfig(40, true), List.of(1), 2);
        return model(
                "qwen2_moe", HfFamily.QWEN2_MOE, 4, attention, new FfnConfig(40, Activation.SWIGLU), moe, false, 1e-5);
    }

    /** Weights not normalised, a dense first block. */
    static ModelConfig qwen3() {
        AttentionConfig attention = new AttentionConfig(4, 2, 8, false, true, 1_000_000);
        MoeConfig moe = moe(6, 3, 20, RouterSpec.Score.SOFTMAX_TOP_K, false, null, List.of(0), 1);
        return model(
                "qwen3_moe", HfFamily.QWEN3_MOE, 3, attention, new FfnConfig(48, Activation.SWIGLU), moe, false, 1e-6);
    }

    static ModelConfig model(
            String name,
            HfFamily family,
            int layers,
            AttentionConfig attention,
            @Nullable FfnConfig ffn,
            @Nullable MoeConfig moe,
            boolean tied,
            double epsilon) {
        return new ModelConfig(name, family, layers, 32, 96, attention, ffn, moe, tied, epsilon, 0.02, 64);
    }

    static MoeConfig moe(
            int experts,
            int topK,
            int width,
            RouterSpec.Score score,
            boolean normalize,
            @Nullable SharedExpertConfig shared,
            List<Integer> dense,
            int step) {
        RouterConfig router =
                new RouterConfig(score, normalize, 1.0, 1, 1, 0.0, 0.01, RouterConfig.AuxLossScope.MICRO_BATCH, 0.0);
        return new MoeConfig(experts, topK, width, Activation.SWIGLU, router, shared, null, dense, step);
    }

    /** Options of each exported model: one whole file, one in shards, one in BF16. */
    static ExportOptions options(ModelConfig model) {
        ExportOptions options =
                ExportOptions.of(model.family() == HfFamily.QWEN2_MOE ? SafetensorsType.BF16 : SafetensorsType.F32);
        return (model.family() == HfFamily.QWEN3_MOE ? options.withMaxShardBytes(SHARD_BYTES) : options)
                .withTokenizer(TokenizerFiles.bytes(), 0);
    }

    static ExportReport export(ModelConfig model, Path folder) {
        try (SyntheticTensors tensors = new SyntheticTensors(model, 10)) {
            return HfExporter.export(tensors, model, folder, options(model));
        }
    }

    /** Exports all of them into subfolders of the given folder, for check_export.py. */
    public static void main(String[] arguments) {
        for (ModelConfig model : all()) {
            export(model, Path.of(arguments[0]).resolve(model.name()));
        }
    }
}
