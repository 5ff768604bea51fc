package io.fourfold.hf;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.config.ConfigLoader;
import io.fourfold.config.ModelConfig;
import io.fourfold.config.ModelConfig.HfFamily;
import io.fourfold.plan.ParameterCount;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** The models under conf/model that name a family. */
final class ConfiguredModelsTest {
    @TempDir
    Path folder;

    static List<ModelConfig> models() throws IOException {
        try (Stream<Path> files = Files.list(Path.of(System.getProperty("fourfold.root"), "conf", "model"))) {
            return files.sorted()
                    .map(file -> ConfigLoader.load(List.of(file), List.of("train.sequence_length=64"))
                            .config()
                            .model())
                    .filter(model -> model.family() != HfFamily.NONE)
                    .toList();
        }
    }

    @ParameterizedTest
    @MethodSource("models")
    void areExpressible(ModelConfig model) throws IOException {
        assertThat(HfFamilies.reasons(model)).isEmpty();
        long elements =
                HfNames.tensors(model).stream().mapToLong(HfTensor::elements).sum();
        assertThat(elements).isEqualTo(ParameterCount.of(model).total());

        Path file = folder.resolve("config.json");
        Files.writeString(
                file, HfConfigWriter.config(model, SafetensorsType.BF16, null).toString());
        ModelConfig read = HfConfigReader.read(file, model.name());
        assertThat(read.attention()).isEqualTo(model.attention());
        assertThat(HfConfigWriter.config(read, SafetensorsType.BF16, null))
                .isEqualTo(HfConfigWriter.config(model, SafetensorsType.BF16, null));
    }
}
