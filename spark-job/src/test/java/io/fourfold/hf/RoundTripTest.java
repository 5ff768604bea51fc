package io.fourfold.hf;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.config.AttentionConfig;
import io.fourfold.config.FfnConfig;
import io.fourfold.config.ModelConfig;
import io.fourfold.config.ModelConfig.HfFamily;
import io.fourfold.config.SharedExpertConfig;
import io.fourfold.kernels.op.Activation;
import io.fourfold.kernels.op.RouterSpec;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

final class RoundTripTest {
    @TempDir
    Path folder;

    static List<ModelConfig> models() {
        ModelConfig biased = ExportedModels.model(
                "biased",
                HfFamily.QWEN2_MOE,
                3,
                new AttentionConfig(4, 1, 8, true, false, 1e6),
                new FfnConfig(40, Activation.SWIGLU),
                ExportedModels.moe(
                        4,
                        2,
                        24,
                        RouterSpec.Score.SOFTMAX_TOP_K,
                        true,
                        new SharedExpertConfig(16, true),
                        List.of(2),
                        1),
                true,
                1e-6);
        return List.of(ExportedModels.mixtral(), ExportedModels.qwen2(), ExportedModels.qwen3(), biased);
    }

    @ParameterizedTest
    @MethodSource("models")
    void singlePrecisionIsExact(ModelConfig model) {
        assertRoundTrip(model, new SyntheticTensors(model, 20), ExportOptions.of(SafetensorsType.F32));
    }

    @ParameterizedTest
    @MethodSource("models")
    void bfloatValuesAreExactInBfloat(ModelConfig model) {
        assertRoundTrip(model, new SyntheticTensors(model, 5), ExportOptions.of(SafetensorsType.BF16));
    }

    @ParameterizedTest
    @MethodSource("models")
    void shardsAreExact(ModelConfig model) throws IOException {
        ExportOptions options = ExportOptions.of(SafetensorsType.F32).withMaxShardBytes(20_000);
        assertRoundTrip(model, new SyntheticTensors(model, 20), options);

        assertThat(folder.resolve(HfExporter.INDEX)).exists();
        assertThat(folder.resolve(HfExporter.SINGLE)).doesNotExist();
        try (var files = Files.list(folder)) {
            assertThat(files.filter(f -> f.toString().endsWith(".safetensors")).toList())
                    .hasSizeGreaterThan(3)
                    .allSatisfy(file -> assertThat(Files.size(file)).isLessThan(20_000 + 5_000));
        }
    }

    private void assertRoundTrip(ModelConfig model, SyntheticTensors source, ExportOptions options) {
        ExportReport report = HfExporter.export(source, model, folder, options);
        assertThat(report.files()).last().isEqualTo("config.json");
        try (HfModel imported = HfImporter.open(folder, model.name())) {
            assertThat(imported.tensors().names()).isEqualTo(source.names());
            for (String name : source.names()) {
                assertThat(imported.tensors().shape(name)).containsExactly(source.shape(name));
                assertThat(imported.tensors().readWhole(name)).containsExactly(source.readWhole(name));
            }
            // The two ways to write a normalised softmax are one in config.json; compare what they compute.
            assertThat(HfConfigWriter.config(imported.config(), options.type(), null))
                    .isEqualTo(HfConfigWriter.config(model, options.type(), null));
            assertThat(imported.config().attention()).isEqualTo(model.attention());
            assertThat(imported.config().ffn()).isEqualTo(model.ffn());
        }
    }

    @Test
    void boxesOfStackedExperts() {
        ModelConfig model = ExportedModels.mixtral();
        SyntheticTensors source = new SyntheticTensors(model, 20);
        HfExporter.export(source, model, folder, ExportOptions.of(SafetensorsType.F32));
        try (HfModel imported = HfImporter.open(folder)) {
            String name = "layers.1.moe.experts.down.weight";
            long[] offset = {1, 3, 5};
            long[] extent = {3, 7, 11};
            assertThat(imported.tensors().read(name, offset, extent))
                    .containsExactly(source.read(name, offset, extent));
            assertThatThrownBy(() -> imported.tensors().read(name, new long[] {3, 0, 0}, new long[] {3, 1, 1}))
                    .hasMessageContaining("leaves " + name);
        }
    }

    @Test
    void aNewExportReplacesTheOldOneAndNothingElse() throws IOException {
        ModelConfig model = ExportedModels.mixtral();
        ExportOptions shards = ExportOptions.of(SafetensorsType.F32).withMaxShardBytes(20_000);
        Files.writeString(folder.resolve("notes.txt"), "mine");
        HfExporter.export(new SyntheticTensors(model, 20), model, folder, shards);
        HfExporter.export(new SyntheticTensors(model, 20), model, folder, ExportOptions.of(SafetensorsType.BF16));
        try (var files = Files.list(folder)) {
            assertThat(files.map(f -> f.getFileName().toString()))
                    .containsExactlyInAnyOrder(
                            "config.json", "generation_config.json", "model.safetensors", "notes.txt");
        }
    }

    @Test
    void tensorsThatDoNotFitAreAllNamed() {
        ModelConfig model = ExportedModels.mixtral();
        var shapes = HfNames.canonicalShapes(model);
        shapes.remove("final_norm.weight");
        shapes.put("embedding.weight", new long[] {95, 32});
        shapes.put("layers.0.moe.router.expert_bias", new long[] {5});
        assertThatThrownBy(() -> HfExporter.export(
                        new SyntheticTensors(shapes, 20), model, folder, ExportOptions.of(SafetensorsType.F32)))
                .isInstanceOf(HfException.class)
                .hasMessageContaining("final_norm.weight is missing")
                .hasMessageContaining("embedding.weight is [95, 32], the configuration says [96, 32]")
                .hasMessageContaining("expert_bias has no place in MixtralForCausalLM");
        assertThat(folder).isEmptyDirectory();
    }

    @Test
    void anImportNamesAllThatIsMissing() throws IOException {
        ModelConfig model = ExportedModels.qwen3();
        HfExporter.export(new SyntheticTensors(model, 20), model, folder, ExportOptions.of(SafetensorsType.F32));
        Path config = folder.resolve("config.json");
        Files.writeString(config, Files.readString(config).replace("\"num_experts\" : 6", "\"num_experts\" : 7"));
        assertThatThrownBy(() -> HfImporter.open(folder))
                .isInstanceOf(HfException.class)
                .hasMessageContaining("model.layers.1.mlp.experts.6.gate_proj.weight is missing")
                .hasMessageContaining("model.layers.1.mlp.gate.weight is [6, 32], config.json says [7, 32]");
        Files.delete(folder.resolve("model.safetensors"));
        assertThatThrownBy(() -> HfImporter.open(folder)).hasMessageContaining("has neither model.safetensors nor");
    }
}
