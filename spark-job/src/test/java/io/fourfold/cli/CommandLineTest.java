package io.fourfold.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.fourfold.checkpoint.CheckpointException;
import io.fourfold.checkpoint.LocalRunStorage;
import io.fourfold.config.ConfigException;
import io.fourfold.config.ConfigLoader;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.ResolvedConfig;
import io.fourfold.data.DataException;
import io.fourfold.hf.HfException;
import io.fourfold.train.TrainingException;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;

class CommandLineTest {
    private static final Path CONF = Path.of(System.getProperty("fourfold.root", ".."), "conf");
    private static final String QUICKSTART = CONF.resolve("run/quickstart.yaml").toString();

    private final StringWriter out = new StringWriter();
    private final StringWriter err = new StringWriter();

    @TempDir
    Path dir;

    private int run(String... arguments) {
        out.getBuffer().setLength(0);
        err.getBuffer().setLength(0);
        return Fourfold.run(new PrintWriter(out, true), new PrintWriter(err, true), arguments);
    }

    @Test
    void helpNamesCommandsAndExitCodes() {
        assertThat(run("--help")).isZero();
        for (String command : Fourfold.commandLine().getSubcommands().keySet()) {
            assertThat(out.toString()).contains(command);
        }
        for (ExitCode code : ExitCode.values()) {
            assertThat(out.toString()).contains(code.number() + "   " + code.meaning());
        }
        assertThat(run("plan", "--help")).isZero();
        assertThat(out.toString()).contains("--config", "--set", "--json", "--verbose", "Exit codes");
        assertThat(run("--version")).isZero();
        assertThat(out.toString()).startsWith("fourfold ");
    }

    @Test
    void aClassPathWithoutSparkIsNamed() {
        err.getBuffer().setLength(0);
        NoClassDefFoundError missing = new NoClassDefFoundError("org/apache/spark/sql/SparkSession");
        assertThat(Failure.report(missing, false, new PrintWriter(err, true))).isEqualTo(ExitCode.USAGE);
        assertThat(err.toString()).contains("needs Spark", "spark-submit", "scripts/bundle --spark");
        assertThat(Failure.code(new NoClassDefFoundError("io/fourfold/Other"))).isEqualTo(ExitCode.UNEXPECTED);
    }

    @Test
    void documentationNamesEveryCommandAndExitCode() throws IOException {
        String page = Files.readString(CONF.resolveSibling("docs").resolve("command-line.md"));
        for (String command : Fourfold.commandLine().getSubcommands().keySet()) {
            assertThat(page).contains("| `" + command + "` |");
        }
        for (ExitCode code : ExitCode.values()) {
            assertThat(page).contains("| " + code.number() + " | " + code.meaning() + " |");
        }
    }

    @Test
    void everyCommandHasHelpAndADescription() {
        for (CommandLine command : Fourfold.commandLine().getSubcommands().values()) {
            assertThat(command.getCommandSpec().optionsMap().keySet())
                    .as(command.getCommandName())
                    .contains("--help", "--version");
            assertThat(command.getCommandSpec().usageMessage().description()).isNotEmpty();
        }
    }

    @Test
    void wrongUseIsTwoWithAHint() {
        assertThat(run("plna")).isEqualTo(2);
        assertThat(err.toString()).contains("Did you mean: fourfold plan?");
        assertThat(run("plan")).isEqualTo(2);
        assertThat(err.toString()).contains("no configuration given: add --config FILE");
        assertThat(run("plan", "--config", QUICKSTART, "--ranks-per-host", "0")).isEqualTo(2);
        assertThat(run("plan", "--config", QUICKSTART, "--memory-per-rank", "much"))
                .isEqualTo(2);
        assertThat(err.toString()).contains("'much' is no size");
        assertThat(run("inspect", dir.resolve("none").toString())).isEqualTo(2);
        assertThat(run()).isEqualTo(2);
    }

    @Test
    void planPrintsTheResolvedConfigurationAndItsHash() {
        assertThat(run("plan", "--config", QUICKSTART, "--set", "train.steps=77"))
                .isZero();
        String hash = ResolvedConfig.of(ConfigLoader.load(List.of(Path.of(QUICKSTART)), List.of("train.steps=77"))
                        .config())
                .sha256();
        assertThat(out.toString())
                .contains("SHA-256 " + hash)
                .containsPattern("  steps: 77 +# --set train.steps=77")
                .contains("Model quickstart-moe")
                .contains("steps                 77 of");
        assertThat(err.toString()).isEmpty();
        assertThat(run("plan", "--brief", "--config", QUICKSTART)).isZero();
        assertThat(out.toString()).startsWith("Model quickstart-moe");
    }

    @Test
    void planAsJsonIsOnlyJson() throws Exception {
        assertThat(run("plan", "--json", "--config", QUICKSTART, "--set", "recipe.late_switch.step=100000"))
                .isZero();
        JsonNode json = new ObjectMapper().readTree(out.toString());
        assertThat(json.path("parameters").path("total").asLong()).isPositive();
        assertThat(err.toString()).contains("fourfold: warning: --set recipe.late_switch.step=100000");
    }

    @Test
    void planRefusesWhatDoesNotFit() {
        assertThat(run("plan", "--config", QUICKSTART, "--memory-per-rank", "10MB"))
                .isEqualTo(2);
        assertThat(err.toString()).contains("the fullest rank needs about");
        assertThat(run("plan", "--config", QUICKSTART, "--set", "parallel.world_size=3"))
                .isEqualTo(2);
        assertThat(err.toString())
                .contains("the configuration has 1 problem:")
                .contains("parallel.world_size = 3: must be a multiple of 2");
    }

    @Test
    void preflightReportsWhatTrainRefuses() {
        String large = CONF.resolve("run/mixtral-8x22b-128.yaml").toString();
        String folder = "run.dir=" + dir.resolve("run");
        assertThat(run("train", "--config", large, "--set", folder)).isEqualTo(2);
        String refused = err.toString();
        assertThat(refused).contains("needs about").contains("TiB for 128 ranks in one process");
        assertThat(run("preflight", "--config", large, "--set", folder)).isEqualTo(2);
        assertThat(err.toString()).isEqualTo(refused);
        assertThat(run("preflight", "--config", large, "--set", "run.dir=" + QUICKSTART))
                .isEqualTo(2);
        assertThat(err.toString()).contains("TiB for 128 ranks", "is a file, not a folder");
    }

    @Test
    void aRunFolderThatIsAFileIsRefused() throws IOException {
        Path file = Files.writeString(dir.resolve("file"), "text");
        for (Path folder : List.of(file, file.resolve("below"))) {
            for (String[] command : new String[][] {{"train", "--dry-run"}, {"train"}, {"preflight"}}) {
                List<String> arguments = new ArrayList<>(List.of(command));
                arguments.addAll(List.of("--config", QUICKSTART, "--set", "run.dir=" + folder));
                assertThat(run(arguments.toArray(String[]::new))).isEqualTo(2);
                assertThat(err.toString())
                        .contains("run.dir = " + folder + ": " + file + " is a file, not a folder")
                        .contains("a folder you can write to");
            }
        }
        assertThat(run("train", "--dry-run", "--config", QUICKSTART, "--set", "run.dir=" + dir.resolve("new/run")))
                .as(err.toString())
                .isZero();
        assertThat(dir.resolve("new")).doesNotExist();
    }

    @Test
    void errorsHaveNoStackTraceUnlessAsked() {
        assertThat(run("plan", "--config", "none.yaml")).isEqualTo(2);
        assertThat(err.toString()).doesNotContain("at io.fourfold");
        assertThat(run("plan", "--config", "none.yaml", "--verbose")).isEqualTo(2);
        assertThat(err.toString()).contains("there is no file none.yaml").contains("at io.fourfold");
    }

    @Test
    void aConfigurationThatCannotBeReadIsTheOnlyProblem() {
        assertThat(run("plan", "--config", "none.yaml")).isEqualTo(2);
        assertThat(err.toString()).contains("has 1 problem:").doesNotContain("is required");
        assertThat(run("plan", "--config", dir.toString())).isEqualTo(2);
        assertThat(err.toString())
                .contains("has 1 problem:", "cannot read " + dir + ": it is a folder", "give a YAML file")
                .doesNotContain("java.io");
    }

    @Test
    void aPlanIsDrawnBeforeItIsPrinted() throws IOException {
        Path drawing = dir.resolve("new/folder/plan.svg");
        assertThat(run("plan", "--config", QUICKSTART, "--draw", drawing.toString()))
                .isZero();
        assertThat(Files.readString(drawing)).contains("<svg");
        Path impossible = drawing.resolve("below/plan.svg");
        assertThat(run("plan", "--config", QUICKSTART, "--draw", impossible.toString()))
                .isEqualTo(2);
        assertThat(err.toString()).contains("cannot write " + impossible).doesNotContain("java.nio");
        assertThat(out.toString()).isEmpty();
    }

    @Test
    void generateNamesItsOwnOptions() {
        assertThat(run("generate", "--run", dir.toString(), "--max-tokens", "0", "--top-k", "-1"))
                .isEqualTo(2);
        assertThat(err.toString())
                .contains("--max-tokens is 0, needed is at least 1; --top-k is -1, needed is 0 (all tokens)");
    }

    @Test
    void exceptionsBecomeExitCodes() {
        assertThat(Failure.code(new ConfigException(List.of()))).isEqualTo(ExitCode.USAGE);
        assertThat(Failure.code(new DataException("x"))).isEqualTo(ExitCode.DATA);
        assertThat(Failure.code(new CheckpointException("x"))).isEqualTo(ExitCode.CHECKPOINT);
        assertThat(Failure.code(new HfException("x"))).isEqualTo(ExitCode.CONVERSION);
        TrainingException.Code failed = TrainingException.Code.TRAIN_RANK_FAILED;
        assertThat(Failure.code(new TrainingException(failed, "x"))).isEqualTo(ExitCode.TRAINING);
        assertThat(Failure.code(new TrainingException(failed, "x", new DataException("y"))))
                .isEqualTo(ExitCode.DATA);
        assertThat(Failure.code(new IllegalStateException("x"))).isEqualTo(ExitCode.UNEXPECTED);
        StringWriter text = new StringWriter();
        Failure.report(new TrainingException(failed, "x", new OutOfMemoryError("heap")), false, new PrintWriter(text));
        assertThat(text.toString()).contains("out of memory (heap)").contains("FOURFOLD_HEAP");
        text.getBuffer().setLength(0);
        Failure.report(new java.io.UncheckedIOException(new IOException("disk full")), false, new PrintWriter(text));
        assertThat(text.toString()).contains("disk full").contains("has space");
    }

    @Test
    void foldersThatAreNoRunsAreCheckpointErrors() throws IOException {
        assertThat(run("eval", "--run", dir.resolve("none").toString())).isEqualTo(5);
        assertThat(err.toString()).contains("there is no run folder");
        assertThat(run("compare", "A=" + dir.resolve("none"), "B=" + dir.resolve("nor this")))
                .isEqualTo(5);
        assertThat(err.toString()).contains("there is no run folder " + dir.resolve("none"));
        assertThat(run(
                        "export",
                        "--run",
                        dir.toString(),
                        "--to",
                        dir.resolve("out").toString()))
                .isEqualTo(5);
        assertThat(err.toString()).contains("it is no run folder");
        Files.createDirectories(dir.resolve("checkpoints"));
        assertThat(run("inspect", dir.toString())).isEqualTo(5);
        assertThat(err.toString()).contains("no complete checkpoint");
        assertThat(run(
                        "import",
                        "--from",
                        dir.toString(),
                        "--run",
                        dir.resolve("r").toString()))
                .isEqualTo(6);
        assertThat(err.toString()).contains("cannot read " + dir.resolve("config.json") + ": there is no such file.");
    }

    @Test
    void configReferenceAsMarkdownAndJson() throws Exception {
        assertThat(run("config-reference")).isZero();
        assertThat(out.toString()).startsWith("# Configuration reference");
        assertThat(run("config-reference", "--json")).isZero();
        assertThat(new ObjectMapper()
                        .readTree(out.toString())
                        .get(0)
                        .path("path")
                        .asText())
                .isEqualTo("model.name");
    }

    @Test
    void continuingARunRefusesAnotherOneAndNamesTheDifferences() throws IOException {
        FourfoldConfig config =
                ConfigLoader.load(List.of(Path.of(QUICKSTART)), List.of()).config();
        FourfoldConfig longer = ConfigLoader.load(List.of(Path.of(QUICKSTART)), List.of("train.steps=500"))
                .config();
        FourfoldConfig other = ConfigLoader.load(
                        List.of(Path.of(QUICKSTART)), List.of("train.seed=5", "recipe.kind=bf16"))
                .config();
        LocalRunStorage folder = new LocalRunStorage(dir);
        PrintWriter notes = new PrintWriter(err, true);
        RunContinuation.check(folder, other, notes);
        folder.writeText("config.yaml", ResolvedConfig.of(config).yaml());
        RunContinuation.check(folder, other, notes);
        // A committed checkpoint makes the folder a run to continue.
        folder.writeText("checkpoints/step-00000010/COMMIT", "");
        RunContinuation.check(folder, config, notes);
        assertThat(err.toString()).isEmpty();
        RunContinuation.check(folder, longer, notes);
        assertThat(err.toString())
                .contains(
                        "continuing with another train.steps: " + config.train().steps() + " -> 500");
        assertThat(err.toString()).doesNotContain("warning");
        FourfoldConfig shorter = ConfigLoader.load(List.of(Path.of(QUICKSTART)), List.of("train.steps=9"))
                .config();
        RunContinuation.check(folder, shorter, notes);
        assertThat(err.toString()).contains("warning: the checkpoint is at step 10, beyond train.steps = 9");
        assertThat(org.assertj.core.api.Assertions.catchThrowable(() -> RunContinuation.check(folder, other, notes)))
                .isInstanceOf(ConfigException.class)
                .hasMessageContaining("config.yaml: recipe.kind = bf16: the run was started with nvfp4")
                .hasMessageContaining("train.seed = 5: the run was started with 1234")
                .hasMessageContaining("this would be another run");
    }
}
