package io.fourfold.cli;

import io.fourfold.checkpoint.TrainedRun;
import io.fourfold.config.FailureReason;
import io.fourfold.eval.GenerateJob;
import io.fourfold.eval.SamplingOptions;
import io.fourfold.model.EvaluationPrecision;
import io.fourfold.report.RunReport;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.function.Consumer;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** Continues a text with a trained model. */
@Command(
        name = "generate",
        description = "Continue a text with a trained model. The continuation also goes into generation.txt of the run"
                + " folder, and from there into its report.")
final class GenerateCommand implements Callable<Integer> {
    @Mixin
    private RunOptions run = new RunOptions();

    @Mixin
    private CommonOptions common = new CommonOptions();

    @Option(
            names = "--prompt",
            paramLabel = "TEXT",
            defaultValue = "",
            description = "Text to continue (default: none, a new document).")
    private String prompt = "";

    @Option(
            names = "--max-tokens",
            paramLabel = "N",
            defaultValue = "100",
            description = "Add at most so many tokens (default: ${DEFAULT-VALUE}).")
    private int maxTokens = 100;

    @Option(
            names = "--temperature",
            paramLabel = "T",
            defaultValue = "0.8",
            description = "Divides the logits; 0 = always the most probable token (default: ${DEFAULT-VALUE}).")
    private double temperature = 0.8;

    @Option(
            names = "--top-k",
            paramLabel = "K",
            defaultValue = "50",
            description = "Only the K most probable tokens; 0 = all (default: ${DEFAULT-VALUE}).")
    private int topK = 50;

    @Option(
            names = "--top-p",
            paramLabel = "P",
            defaultValue = "0.95",
            description = "Only the most probable tokens that together have probability P (default: ${DEFAULT-VALUE}).")
    private double topP = 0.95;

    @Option(
            names = "--seed",
            paramLabel = "N",
            defaultValue = "0",
            description = "The same seed and prompt give the same text (default: ${DEFAULT-VALUE}).")
    private long seed;

    @Option(
            names = "--precision",
            paramLabel = "PRECISION",
            defaultValue = "unquantized",
            description = "unquantized: what an exported model computes; recipe: the formats the model was trained with"
                    + " (default: ${DEFAULT-VALUE}).")
    private EvaluationPrecision precision = EvaluationPrecision.UNQUANTIZED;

    @Override
    public Integer call() {
        SamplingOptions sampling;
        try {
            sampling = new SamplingOptions(maxTokens, temperature, topK, topP, seed);
        } catch (IllegalArgumentException e) {
            throw new UsageException(options(String.valueOf(e.getMessage())));
        }
        int threads = Runtime.getRuntime().availableProcessors();
        try (TrainedRun trained = run.open()) {
            GenerateJob.Report report = GenerateJob.run(trained, prompt, sampling, precision, threads, output());
            print(report);
            keep(prompt + report.text());
        }
        return ExitCode.OK.number();
    }

    /** The same text with the names that the options have here. */
    private static String options(String problems) {
        return problems.replace("maxNewTokens is", "--max-tokens is")
                .replace("temperature is", "--temperature is")
                .replace("topK is", "--top-k is")
                .replace("topP is", "--top-p is");
    }

    /** Shows the text as it grows, after the prompt; nothing with {@code --json}. */
    private Consumer<String> output() {
        if (common.json) {
            return piece -> {};
        }
        PrintWriter out = common.out();
        out.print(prompt);
        out.flush();
        return piece -> {
            out.print(piece);
            out.flush();
        };
    }

    private void print(GenerateJob.Report report) {
        if (common.json) {
            Map<String, Object> result = new LinkedHashMap<>();
            result.put("checkpoint", report.checkpoint());
            result.put("prompt", prompt);
            result.put("text", report.text());
            result.put("tokens", report.tokens());
            result.put("end", report.end().name().toLowerCase(Locale.ROOT));
            result.put("seconds", report.seconds());
            common.printJson(result);
        } else {
            common.out().println();
            common.say(
                    "(%d tokens, %.1f tokens/s, %s)",
                    report.tokens(),
                    report.tokens() / report.seconds(),
                    report.end().name().toLowerCase(Locale.ROOT).replace('_', ' '));
        }
    }

    /** A run folder that cannot be written is no reason to fail: the text was shown. */
    private void keep(String text) {
        Path folder = run.folder();
        try {
            Files.writeString(folder.resolve("generation.txt"), text + "\n", StandardCharsets.UTF_8);
            if (Files.exists(folder.resolve("metrics.jsonl"))) {
                RunReport.write(folder);
            }
        } catch (IOException e) {
            common.err()
                    .println("fourfold: warning: the continuation was not stored in " + folder + ": "
                            + FailureReason.of(e));
            common.err().flush();
        }
    }
}
