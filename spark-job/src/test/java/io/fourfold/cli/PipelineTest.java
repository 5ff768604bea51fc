package io.fourfold.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.MethodOrderer;
import org.junit.jupiter.api.Order;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestMethodOrder;
import org.junit.jupiter.api.io.TempDir;

/** Raw text to an exported model, every stage by its command, as a user runs them. */
@TestMethodOrder(MethodOrderer.OrderAnnotation.class)
class PipelineTest {
    private static final Path CONF = Path.of(System.getProperty("fourfold.root", ".."), "conf");
    private static final ObjectMapper JSON = new ObjectMapper();

    @TempDir
    static Path dir;

    private final StringWriter out = new StringWriter();
    private final StringWriter err = new StringWriter();

    private int run(String... arguments) {
        out.getBuffer().setLength(0);
        err.getBuffer().setLength(0);
        return Fourfold.run(new PrintWriter(out, true), new PrintWriter(err, true), arguments);
    }

    private int configured(String command, String... more) {
        List<String> arguments = new ArrayList<>(
                List.of(command, "--config", CONF.resolve("run/tiny.yaml").toString()));
        for (String set : List.of(
                "data.sources={austen: null, words: [" + dir.resolve("words.jsonl") + "]}",
                "data.prepared=" + dir.resolve("prepared"),
                "data.validation_fraction=0.2",
                "parallel={world_size: 2, expert_parallel_size: 2}",
                "train.steps=4",
                "run.dir=" + dir.resolve("run"))) {
            arguments.addAll(List.of("--set", set));
        }
        arguments.addAll(List.of(more));
        return run(arguments.toArray(String[]::new));
    }

    private JsonNode json() throws IOException {
        return JSON.readTree(out.toString());
    }

    @Test
    @Order(1)
    void prepare() throws IOException {
        StringBuilder lines = new StringBuilder();
        Random random = new Random(7);
        for (int document = 0; document < 60; document++) {
            StringBuilder text = new StringBuilder("Document " + document + ":");
            for (int word = 0; word < 60; word++) {
                text.append(' ')
                        .append(List.of("sense", "and", "pride", "sail", "of", "the")
                                .get(random.nextInt(6)));
            }
            lines.append(JSON.writeValueAsString(Map.of("text", text.toString())))
                    .append('\n');
        }
        Files.writeString(dir.resolve("words.jsonl"), lines, StandardCharsets.UTF_8);

        assertThat(configured("prepare", "--dry-run", "--json"))
                .as(err.toString())
                .isZero();
        assertThat(json().path("dry_run").asBoolean()).isTrue();
        assertThat(dir.resolve("prepared/words/train/manifest.json")).doesNotExist();
        assertThat(configured("prepare", "--json")).as(err.toString()).isZero();
        JsonNode words = json().path("data_sets").get(0);
        assertThat(words.path("documents").asLong()).isEqualTo(60);
        assertThat(words.path("tokens").asLong()).isGreaterThan(15_000);
        assertThat(run("inspect", dir.resolve("prepared").toString())).isZero();
        assertThat(out.toString())
                .contains("words")
                .contains("train")
                .contains("validation")
                .contains("bytes");
    }

    @Test
    @Order(2)
    void planKnowsTheTokensNow() throws IOException {
        assertThat(configured("plan", "--json")).as(err.toString()).isZero();
        assertThat(json().path("budget").path("dataset_tokens").asLong()).isGreaterThan(10_000);
        assertThat(json().path("obstacles")).isEmpty();
    }

    @Test
    @Order(3)
    void trainContinueAndRefuseAnotherRun() throws IOException {
        assertThat(configured("train", "--dry-run")).as(err.toString()).isZero();
        assertThat(dir.resolve("run")).doesNotExist();
        assertThat(configured("train", "--json")).as(err.toString()).isZero();
        assertThat(json().path("last_step").asInt()).isEqualTo(4);
        assertThat(json().path("validation_loss").asDouble()).isBetween(3.0, 7.0);
        for (String file : List.of("config.yaml", "plan.json", "metrics.jsonl", "report.html", "checkpoints")) {
            assertThat(dir.resolve("run").resolve(file)).exists();
        }
        JsonNode plan = JSON.readTree(dir.resolve("run/plan.json").toFile());
        assertThat(plan.path("budget").path("dataset_tokens").asLong()).isGreaterThan(10_000);
        assertThat(configured("train", "--json", "--set", "train.steps=6"))
                .as(err.toString())
                .isZero();
        assertThat(json().path("first_step").asInt()).isEqualTo(4);
        assertThat(json().path("last_step").asInt()).isEqualTo(6);
        assertThat(err.toString()).contains("continuing with another train.steps: 4 -> 6");
        assertThat(configured("train", "--set", "train.steps=6"))
                .as(err.toString())
                .isZero();
        assertThat(out.toString()).contains("Done after step 6 of 6: ").doesNotContain("NaN");
        assertThat(configured("train", "--set", "model.moe.top_k=1")).isEqualTo(ExitCode.USAGE.number());
        assertThat(err.toString()).contains("model.moe.top_k = 1: the run was started with 2");
    }

    @Test
    @Order(4)
    void inspectEvaluateAndGenerate() throws IOException {
        String run = dir.resolve("run").toString();
        assertThat(run("inspect", "--verify", "--json", run)).as(err.toString()).isZero();
        assertThat(json().get(json().size() - 1).path("step").asInt()).isEqualTo(6);
        assertThat(run("eval", "--run", run, "--json", "--samples", "4"))
                .as(err.toString())
                .isZero();
        assertThat(json().path("step").asInt()).isEqualTo(6);
        assertThat(json().path("perplexity").asDouble())
                .isEqualTo(Math.exp(json().path("loss").asDouble()));
        assertThat(run("generate", "--run", run, "--prompt", "The sail", "--max-tokens", "5"))
                .isZero();
        assertThat(out.toString()).startsWith("The sail").contains("tokens/s");
        assertThat(Files.readString(dir.resolve("run/generation.txt"))).startsWith("The sail");
        assertThat(run("eval", "--run", run, "--step", "99")).isEqualTo(ExitCode.CHECKPOINT.number());
        assertThat(run("eval", "--run", run, "--set", "data.prepared=" + dir)).isEqualTo(ExitCode.DATA.number());
        assertThat(run("generate", "--run", run, "--top-p", "2")).isEqualTo(ExitCode.USAGE.number());
    }

    @Test
    @Order(5)
    void exportImportAndTrainFromIt() throws IOException {
        String run = dir.resolve("run").toString();
        String exported = dir.resolve("exported").toString();
        assertThat(run("export", "--run", run, "--to", exported, "--dry-run"))
                .as(err.toString())
                .isZero();
        assertThat(dir.resolve("exported")).doesNotExist();
        assertThat(run("export", "--run", run, "--to", exported, "--type", "f32", "--json"))
                .as(err.toString())
                .isZero();
        assertThat(json().path("architecture").asText()).isEqualTo("Qwen3MoeForCausalLM");
        assertThat(run("inspect", exported)).isZero();
        assertThat(out.toString()).contains("qwen3_moe, 2 blocks");
        String imported = dir.resolve("imported").toString();
        assertThat(run("import", "--from", exported, "--run", imported))
                .as(err.toString())
                .isZero();
        assertThat(out.toString()).contains("Train from it");
        assertThat(configured(
                        "train",
                        "--json",
                        "--config",
                        imported + "/model.yaml",
                        "--set",
                        "run.dir=" + imported,
                        "--set",
                        "train.steps=1"))
                .as(err.toString())
                .isZero();
        assertThat(json().path("last_step").asInt()).isEqualTo(1);
    }
}
