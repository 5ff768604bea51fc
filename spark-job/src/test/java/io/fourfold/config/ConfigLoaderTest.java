package io.fourfold.config;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.fourfold.kernels.op.OperandSpec;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ConfigLoaderTest {
    static final String DENSE = """
            model:
              name: small
              layers: 2
              hidden_size: 64
              vocab_size: 512
              attention: {heads: 4, kv_heads: 2, head_dim: 16}
              ffn:
                intermediate_size: 128
            """;

    @TempDir
    Path dir;

    private Path file(String name, String text) throws IOException {
        Path path = dir.resolve(name);
        Files.createDirectories(path.getParent());
        return Files.writeString(path, text);
    }

    private static ConfigException refused(List<Path> files, String... sets) {
        return catchThrowableOfType(ConfigException.class, () -> ConfigLoader.load(files, List.of(sets)));
    }

    @Test
    void defaultsAndProvenance() throws IOException {
        Path model = file("model.yaml", DENSE);
        ConfigLoader.Loaded loaded = ConfigLoader.load(List.of(model), List.of("train.steps=1_000"));
        FourfoldConfig config = loaded.config();
        assertThat(config.model().attention().ropeTheta()).isEqualTo(10000.0);
        assertThat(config.train().steps()).isEqualTo(1000);
        assertThat(config.recipe().kind()).isEqualTo(RecipeConfig.Kind.BF16);
        assertThat(config.model().moe()).isNull();
        assertThat(loaded.warnings()).isEmpty();
        assertThat(loaded.provenance())
                .containsEntry("model.layers", model + ":3")
                .containsEntry("model.ffn.intermediate_size", model + ":8")
                .containsEntry("train.steps", "--set train.steps=1_000")
                .containsEntry("train.seed", "default")
                .doesNotContainKey("model.ffn");
    }

    @Test
    void laterLayersWinKeyByKeyAndSetsWinOverAll() throws IOException {
        Path base = file("base.yaml", DENSE + "train: {steps: 5, seed: 7}\n");
        Path over = file("over.yaml", "train:\n  steps: 6\nmodel:\n  attention:\n    heads: 8\n");
        FourfoldConfig config = ConfigLoader.load(
                        List.of(base, over),
                        List.of("train.steps=9", "recipe.kind=NVFP4", "recipe.scale_formula=te-2.14"))
                .config();
        assertThat(config.train().steps()).isEqualTo(9);
        assertThat(config.train().seed()).isEqualTo(7);
        assertThat(config.model().attention().heads()).isEqualTo(8);
        assertThat(config.model().attention().kvHeads()).isEqualTo(2);
        assertThat(config.recipe().kind()).isEqualTo(RecipeConfig.Kind.NVFP4);
        assertThat(config.recipe().scaleFormula()).isEqualTo(OperandSpec.ScaleFormula.TE_2_14);
    }

    @Test
    void includesLieBelowTheFileAndAreRelativeToIt() throws IOException {
        file("parts/model.yaml", DENSE);
        file("parts/train.yaml", "include: model.yaml\ntrain: {steps: 5, seed: 7}\n");
        Path top = file("top.yaml", "include: [parts/train.yaml]\ntrain: {steps: 8}\n");
        FourfoldConfig config = ConfigLoader.load(List.of(top), List.of()).config();
        assertThat(config.train().steps()).isEqualTo(8);
        assertThat(config.train().seed()).isEqualTo(7);
        assertThat(config.model().name()).isEqualTo("small");
    }

    @Test
    void aSettingWithoutAValueIsRefused() throws IOException {
        Path model = file("model.yaml", DENSE + "train: {steps: 5}\n");
        for (String empty : List.of("train.steps=", "train.steps= ", "train.steps=# none")) {
            assertThat(refused(List.of(model), empty))
                    .hasMessageContaining("--set " + empty + ": train.steps is given no value")
                    .hasMessageContaining("write train.steps=null to take the value of lower layers away");
        }
        int steps = ConfigLoader.load(List.of(file("plain.yaml", DENSE)), List.of())
                .config()
                .train()
                .steps();
        assertThat(ConfigLoader.load(List.of(model), List.of("train.steps=null"))
                        .config()
                        .train()
                        .steps())
                .isEqualTo(steps);
    }

    @Test
    void circularAndMissingIncludesAreNamed() throws IOException {
        Path a = file("a.yaml", "include: [b.yaml, c.yml]\n" + DENSE);
        file("b.yaml", "include:\n  - a.yaml\n");
        assertThat(refused(List.of(a)))
                .hasMessageContaining("b.yaml:2: include goes in a circle")
                .hasMessageContaining("a.yaml:1: there is no file " + dir.resolve("c.yml"));
        assertThat(refused(List.of(dir.resolve("aa.yaml"))))
                .hasMessageContaining("there is no file")
                .hasMessageContaining("did you mean a.yaml?");
    }

    @Test
    void allProblemsAtOnceWithTheirLines() throws IOException {
        Path bad = file("bad.yaml", """
                model:
                  name: small
                  layers: two
                  hidden_sise: 64
                  vocab_size: 512
                  attention: {heads: 4, kv_heads: 2, head_dim: 16}
                recipe:
                  kind: nvpf4
                train:
                  learning_rate: 1e-3
                  global_batch_size: 7
                  optimizer:
                    beta1: 1.5
                parallel:
                  world_size: 3
                  expert_parallel_size: 2
                trian: {}
                """);
        ConfigException refused = refused(List.of(bad), "run.log_every=0", "data.dedup=yes");
        assertThat(refused.problems()).hasSize(10);
        assertThat(refused)
                .hasMessageContaining("10 problems")
                .hasMessageContaining("bad.yaml:3: model.layers = two: must be a whole number")
                .hasMessageContaining("bad.yaml:2: model.hidden_size: is required and not given")
                .hasMessageContaining("bad.yaml:4: model.hidden_sise: there is no such setting")
                .hasMessageContaining("did you mean model.hidden_size?")
                .hasMessageContaining("bad.yaml:8: recipe.kind = nvpf4: must be one of fp32, bf16, fp8, nvfp4, mxfp4")
                .hasMessageContaining("did you mean nvfp4?")
                .hasMessageContaining("did you mean train.optimizer.learning_rate?")
                .hasMessageContaining("bad.yaml:13: train.optimizer.beta1 = 1.5: must be between 0 and 1")
                .hasMessageContaining("bad.yaml:15: parallel.world_size = 3: must be a multiple of 2")
                .hasMessageContaining("did you mean train?")
                .hasMessageContaining("--set run.log_every=0: run.log_every = 0: must be at least 1")
                .hasMessageContaining("--set data.dedup=yes: data.dedup = yes: must be true or false");
    }

    @Test
    void wrongShapes() throws IOException {
        Path bad = file("bad.yaml", DENSE + """
                train: 5
                data:
                  sources: [a, b]
                  blend: {a: "1.0"}
                recipe:
                  high_precision: {modules: qkv, last: 1.5}
                """);
        assertThat(refused(List.of(bad), "run.dir=[a]", "parallel.world_size=\"2\""))
                .hasMessageContaining("train = 5: must be a mapping")
                .hasMessageContaining("data.sources = a list: must be a mapping of names to values")
                .hasMessageContaining("data.blend.a = \"1.0\": must be a number, found text in quotes")
                .hasMessageContaining("recipe.high_precision.modules = qkv: must be a list")
                .hasMessageContaining("write [qkv]")
                .hasMessageContaining("recipe.high_precision.last = 1.5: must be a whole number")
                .hasMessageContaining("run.dir = a list: must be text")
                .hasMessageContaining("parallel.world_size = \"2\": must be a whole number, found text in quotes");
    }

    @Test
    void brokenYaml() throws IOException {
        Path syntax = file("syntax.yaml", DENSE + "train: {steps: 5\nrun:\n");
        Path twice = file("twice.yaml", DENSE + "train:\n  steps: 5\n  seed: 1\n  steps: 6\n");
        Path list = file("list.yaml", "- a\n- b\n");
        Path latin = dir.resolve("latin.yaml");
        Files.write(latin, new byte[] {'a', ':', ' ', (byte) 0xe9});
        Path alias = file("alias.yaml", DENSE + "train: &t\n  seed: *t\n");
        assertThat(refused(List.of(syntax))).hasMessageContaining("syntax.yaml:10: is not valid YAML");
        assertThat(refused(List.of(twice)))
                .hasMessageContaining("twice.yaml:12: key steps is given twice, first at")
                .hasMessageContaining("twice.yaml:10");
        assertThat(refused(List.of(list))).hasMessageContaining("list.yaml:1: the top level must be a mapping");
        assertThat(refused(List.of(latin))).hasMessageContaining("latin.yaml is not UTF-8");
        assertThat(refused(List.of(alias))).hasMessageContaining("an alias contains itself");
        assertThat(refused(List.of(dir))).hasMessageContaining("cannot read");
    }

    @Test
    void malformedSets() throws IOException {
        Path model = file("model.yaml", DENSE);
        assertThat(refused(List.of(model), "train.steps", "=5", "train..steps=5", "train.steps={a"))
                .hasMessageContaining("--set train.steps: --set takes key.path=value")
                .hasMessageContaining("--set =5: --set takes")
                .hasMessageContaining("--set train..steps=5: --set takes")
                .hasMessageContaining("--set train.steps={a: is not valid YAML");
    }

    @Test
    void nullTakesALowerLayerAway() throws IOException {
        Path model = file("model.yaml", DENSE + "train: {steps: 5}\ndata: {blend: {a: 1.0, b: 2.0}}\n");
        FourfoldConfig config = ConfigLoader.load(
                        List.of(model), List.of("train=null", "data.blend.a=null", "data.end_of_document=~"))
                .config();
        assertThat(config.train().steps()).isEqualTo(100);
        assertThat(config.data().blend()).containsOnlyKeys("b");
        assertThat(config.data().endOfDocument()).isNull();
    }

    @Test
    void numbersAreReadByTheSettingNotByYaml() throws IOException {
        Path model = file("model.yaml", DENSE.replace("small", "010"));
        FourfoldConfig config = ConfigLoader.load(
                        List.of(model), List.of("train.steps=1e3", "train.optimizer.learning_rate=3e-4", "run.name=no"))
                .config();
        assertThat(config.model().name()).isEqualTo("010");
        assertThat(config.train().steps()).isEqualTo(1000);
        assertThat(config.train().optimizer().learningRate()).isEqualTo(3e-4);
        assertThat(config.run().name()).isEqualTo("no");
        assertThat(refused(List.of(model), "train.steps=1e12"))
                .hasMessageContaining("between -2147483648 and 2147483647");
        assertThat(refused(List.of(model), "train.optimizer.learning_rate=NaN"))
                .hasMessageContaining("must be a number");
        assertThat(refused(List.of(model), "train.optimizer.learning_rate=1e999999999"))
                .hasMessageContaining("within 1e308");
    }
}
