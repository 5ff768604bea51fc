package io.fourfold.hf;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.checkpoint.WeightLoader;
import io.fourfold.config.ConfigLoader;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.ResolvedConfig;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.CommunicationWorld;
import io.fourfold.kernels.comm.InProcessWorld;
import io.fourfold.kernels.cpu.CpuBackend;
import io.fourfold.model.MoeTransformer;
import io.fourfold.parallel.ParallelMapping;
import io.fourfold.parallel.ProcessGroups;
import java.nio.file.Path;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Fourfold's logits are those of Hugging Face transformers: for models that transformers made and Fourfold imported, and
 * for models that Fourfold exported and transformers loaded. Both sides compute in FP32 on a CPU; they differ in the order
 * of sums, in exp and in the rotation's sine and cosine, which moves logits of order one by less than 5e-6 here (transformers' own FP32 is up to 3e-6 from its FP64). The bound of 1e-4
 * leaves room for other processors and is far below what any difference in meaning does (a swapped projection, another
 * order of softmax and top-k, another rotary layout: above 1e-2).
 */
final class LogitsParityTest {
    private static final float TOLERANCE = 1e-4f;

    @TempDir
    Path folder;

    @ParameterizedTest
    @ValueSource(strings = {"mixtral", "qwen2_moe", "qwen3_moe"})
    void importedModels(String family) {
        assertSameLogits(Golden.folder(family), Golden.record(family));
    }

    @ParameterizedTest
    @ValueSource(strings = {"mixtral", "qwen2_moe", "qwen3_moe"})
    void exportedModels(String family) {
        ExportedModels.export(Golden.exported(family), folder);
        assertSameLogits(folder, Golden.exportedRecord(family));
    }

    private static void assertSameLogits(Path folder, Golden.Expected expected) {
        float[] logits = logits(folder, expected.tokens());
        assertThat(logits).hasSameSizeAs(expected.logits());
        float worst = 0;
        for (int i = 0; i < logits.length; i++) {
            worst = Math.max(
                    worst, Math.abs(logits[i] - expected.logits()[i]) / Math.max(1, Math.abs(expected.logits()[i])));
        }
        assertThat(worst).isLessThan(TOLERANCE);
    }

    private static float[] logits(Path folder, int[] tokens) {
        try (HfModel imported = HfImporter.open(folder);
                Backend backend = new CpuBackend(1);
                CommunicationWorld world = InProcessWorld.create(1).get(0)) {
            String yaml = ResolvedConfig.section("model", imported.config())
                    + "recipe: {kind: fp32}\ntrain: {sequence_length: 64}\n";
            FourfoldConfig config = ConfigLoader.parse("model.yaml", yaml).config();
            try (ProcessGroups groups = ProcessGroups.create(ParallelMapping.of(config.parallel()), world);
                    MoeTransformer model = MoeTransformer.create(config, backend, groups)) {
                WeightLoader.load(model.parameters(), backend, imported.tensors());
                model.parametersChanged();
                return model.logits(tokens);
            }
        }
    }
}
