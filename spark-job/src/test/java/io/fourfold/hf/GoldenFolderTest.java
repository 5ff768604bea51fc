package io.fourfold.hf;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.config.ModelConfig;
import java.nio.file.Path;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Folders that transformers itself has written, see src/test/resources/hf/README.md. */
final class GoldenFolderTest {
    @TempDir
    Path out;

    @ParameterizedTest
    @ValueSource(strings = {"mixtral", "qwen2_moe", "qwen3_moe"})
    void exportOfAnImportHasTheSameTensorsBitForBit(String family) {
        Path golden = Golden.folder(family);
        try (HfModel model = HfImporter.open(golden)) {
            assertThat(HfFamilies.modelType(model.config().family())).isEqualTo(family);
            SafetensorsType type = family.equals("qwen2_moe") ? SafetensorsType.BF16 : SafetensorsType.F32;
            HfExporter.export(model.tensors(), model.config(), out, ExportOptions.of(type));
            assertThat(Golden.rawTensors(out)).isEqualTo(Golden.rawTensors(golden));
            try (HfModel again = HfImporter.open(out, model.config().name())) {
                assertThat(again.config()).isEqualTo(model.config());
            }
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"mixtral", "qwen2_moe", "qwen3_moe"})
    void anExportIsTheOneThatTransformersWasShown(String family) {
        ModelConfig model = Golden.exported(family);
        ExportedModels.export(model, out);
        assertThat(Golden.weightsSha256(out))
                .isEqualTo(Golden.exportedRecord(family).weightsSha256());
        Map<String, String> names = new TreeMap<>();
        HfNames.tensors(model).forEach(tensor -> names.put(tensor.name(), tensor.canonical()));
        assertThat(Golden.rawTensors(out).keySet()).isEqualTo(names.keySet());
    }
}
