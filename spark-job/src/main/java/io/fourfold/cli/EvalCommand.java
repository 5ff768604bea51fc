package io.fourfold.cli;

import io.fourfold.checkpoint.TrainedRun;
import io.fourfold.eval.EvalJob;
import io.fourfold.metrics.EvalMetrics;
import io.fourfold.model.EvaluationPrecision;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** Measures a trained model on held-out text. */
@Command(name = "eval", description = "Loss and perplexity of a trained model on the held-out documents.")
final class EvalCommand implements Callable<Integer> {
    @Mixin
    private RunOptions run = new RunOptions();

    @Mixin
    private CommonOptions common = new CommonOptions();

    @Option(
            names = "--samples",
            paramLabel = "N",
            description = "Sequences to score, at most the whole split (default: the whole split).")
    private @Nullable Long samples;

    @Option(
            names = "--split",
            paramLabel = "SPLIT",
            defaultValue = "validation",
            description = "validation or train (default: ${DEFAULT-VALUE}).")
    private String split = "validation";

    @Option(
            names = "--precision",
            paramLabel = "PRECISION",
            defaultValue = "recipe",
            description = "recipe: the formats the model was trained with; unquantized: what an exported model computes"
                    + " (default: ${DEFAULT-VALUE}).")
    private EvaluationPrecision precision = EvaluationPrecision.RECIPE;

    @Override
    public Integer call() {
        if (!split.equals("validation") && !split.equals("train")) {
            throw new UsageException("--split must be validation or train, not " + split);
        }
        if (samples != null && samples < 1) {
            throw new UsageException("--samples must be at least 1, not " + samples);
        }
        try (TrainedRun trained = run.open()) {
            int threads = Runtime.getRuntime().availableProcessors();
            EvalJob.Options options = new EvalJob.Options(samples == null ? 0 : samples, split, precision, threads);
            print(trained, EvalJob.run(trained, options).metrics());
        }
        return ExitCode.OK.number();
    }

    private void print(TrainedRun trained, EvalMetrics metrics) {
        if (common.json) {
            Map<String, Object> result = new LinkedHashMap<>();
            result.put("checkpoint", trained.checkpoint().location());
            result.put("step", metrics.step());
            result.put("split", split);
            result.put("precision", precision.name().toLowerCase(Locale.ROOT));
            result.put("loss", metrics.loss());
            result.put("perplexity", metrics.perplexity());
            result.put("tokens", metrics.tokens());
            result.put("seconds", metrics.seconds());
            common.printJson(result);
        } else {
            common.say(
                    "%s, step %d: loss %.4f, perplexity %.2f on %,d %s tokens (%.1f s)",
                    trained.config().model().name(),
                    metrics.step(),
                    metrics.loss(),
                    metrics.perplexity(),
                    metrics.tokens(),
                    split,
                    metrics.seconds());
        }
    }
}
