package io.fourfold.config;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.Reader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

/** Every file of conf/ loads, without warnings, alone or on top of a model. */
class ConfFilesTest {
    private static final Path CONF = Path.of(System.getProperty("fourfold.root", ".."), "conf");

    private static List<Path> files(String ending) throws IOException {
        try (Stream<Path> files = Files.walk(CONF)) {
            return files.filter(f -> f.toString().endsWith(ending)).sorted().toList();
        }
    }

    @TestFactory
    Stream<DynamicTest> yamlFilesLoad() throws IOException {
        List<Path> files = files(".yaml");
        assertThat(files).hasSizeGreaterThan(25);
        return files.stream()
                .map(file -> DynamicTest.dynamicTest(CONF.relativize(file).toString(), () -> {
                    ConfigLoader.Loaded loaded = load(file);
                    assertThat(loaded.warnings()).isEmpty();
                    String yaml = ResolvedConfig.of(loaded.config()).yaml();
                    assertThat(ConfigLoader.parse("resolved", yaml).config()).isEqualTo(loaded.config());
                }));
    }

    private static ConfigLoader.Loaded load(Path file) {
        String kind = CONF.relativize(file).getName(0).toString();
        List<String> sets = new ArrayList<>();
        List<Path> layers = new ArrayList<>();
        if (kind.equals("parallel")) {
            String name = file.getFileName().toString().replaceAll("-\\d+\\.yaml", ".yaml");
            Path model = CONF.resolve("model").resolve(name);
            layers.add(Files.exists(model) ? model : CONF.resolve("model/quickstart-moe.yaml"));
            sets.add("train.global_batch_size=256");
        } else if (!kind.equals("model") && !kind.equals("run")) {
            layers.add(CONF.resolve("model/quickstart-moe.yaml"));
        }
        layers.add(file);
        return ConfigLoader.load(layers, sets);
    }

    @Test
    void modelsAreNamedAfterTheirFiles() throws IOException {
        for (Path file : files(".yaml")) {
            if (file.startsWith(CONF.resolve("model"))) {
                assertThat(load(file).config().model().name() + ".yaml")
                        .isEqualTo(file.getFileName().toString());
            }
        }
    }

    @Test
    void recipesAreWhatTheirNamesSay() {
        for (RecipeConfig.Kind kind : RecipeConfig.Kind.values()) {
            Path file = CONF.resolve("recipe").resolve(SettingKeys.word(kind) + ".yaml");
            assertThat(load(file).config().recipe().kind()).isEqualTo(kind);
        }
        RecipeConfig late =
                load(CONF.resolve("recipe/nvfp4-late-switch.yaml")).config().recipe();
        assertThat(late.kind()).isEqualTo(RecipeConfig.Kind.NVFP4);
        assertThat(late.lateSwitch().step()).isPositive();
    }

    /** As {@code scripts/quickstart --recipe} lays them. */
    @Test
    void everyRecipeLiesOverTheQuickstartWithoutWarnings() {
        for (RecipeConfig.Kind kind : RecipeConfig.Kind.values()) {
            Path file = CONF.resolve("recipe").resolve(SettingKeys.word(kind) + ".yaml");
            ConfigLoader.Loaded loaded =
                    ConfigLoader.load(List.of(CONF.resolve("run/quickstart.yaml"), file), List.of());
            assertThat(loaded.warnings()).as(SettingKeys.word(kind)).isEmpty();
            assertThat(loaded.config().recipe().kind()).isEqualTo(kind);
        }
    }

    @Test
    void quickstartCanBeTrainedByThisVersion() {
        FourfoldConfig config = load(CONF.resolve("run/quickstart.yaml")).config();
        assertThat(VersionLimits.problems(config)).isEmpty();
        assertThat(config.recipe().kind()).isEqualTo(RecipeConfig.Kind.NVFP4);
    }

    @Test
    void sparkSettingsReadAsProperties() throws IOException {
        List<Path> files = files(".conf");
        assertThat(files).hasSize(4);
        for (Path file : files) {
            Properties properties = new Properties();
            try (Reader reader = Files.newBufferedReader(file, StandardCharsets.UTF_8)) {
                properties.load(reader);
            }
            assertThat(properties.stringPropertyNames()).as(file.toString()).allMatch(k -> k.startsWith("spark."));
            assertThat(properties)
                    .as(file.toString())
                    .containsEntry("spark.dynamicAllocation.enabled", "false")
                    .containsEntry("spark.speculation", "false")
                    .containsEntry("spark.barrier.sync.timeout", "600");
            assertThat(properties.getProperty("spark.driver.extraJavaOptions"))
                    .contains("--add-opens=java.base/java.nio=ALL-UNNAMED", "-Dai.djl.offline=true");
        }
    }
}
