package io.fourfold.report;

import io.fourfold.metrics.HumanNumbers;
import io.fourfold.metrics.RunHistory;
import io.fourfold.metrics.StepMetrics;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/**
 * Several runs after the same number of tokens: the largest that all of them reached.
 *
 * @param tokens that number
 * @param rows one a run, in the order given; gaps are relative to the first
 */
public record RunComparison(long tokens, List<Row> rows) {
    /**
     * One run.
     *
     * @param recipe from the run's facts, "-" when it has none
     * @param step the last step within the compared tokens
     * @param trainingLoss mean training loss of the last 5% of the compared steps (at most 100), nats per token
     * @param trainingGap (trainingLoss - first run's) / first run's
     * @param validationLoss of the newest validation within the compared tokens, NaN without one
     * @param validationGap likewise relative
     * @param tokensPerSecond median over the compared steps
     */
    public record Row(
            String label,
            String recipe,
            int step,
            double trainingLoss,
            double trainingGap,
            double validationLoss,
            double validationGap,
            double tokensPerSecond) {
        /** Of the validation loss. */
        public double perplexity() {
            return Math.exp(validationLoss);
        }
    }

    /** Compares runs, each of which has at least one finite loss. */
    public static RunComparison of(List<NamedRun> runs) {
        long tokens = runs.stream()
                .mapToLong(run -> lastTokens(run.history()))
                .min()
                .orElseThrow(() -> new IllegalArgumentException("There is no run to compare"));
        List<Row> rows = new ArrayList<>();
        for (NamedRun run : runs) {
            rows.add(row(run, tokens, rows));
        }
        return new RunComparison(tokens, List.copyOf(rows));
    }

    private static long lastTokens(RunHistory run) {
        return run.steps().get(run.steps().size() - 1).tokens();
    }

    private static Row row(NamedRun run, long tokens, List<Row> before) {
        List<StepMetrics> steps = run.history().steps().stream()
                .filter(step -> step.tokens() <= tokens)
                .toList();
        double training = Curve.loss(run.history()).until(tokens).finalMean();
        Curve validations = Curve.validation(run.history()).until(tokens);
        double validation = validations.isEmpty() ? Double.NaN : validations.y()[validations.size() - 1];
        Row first = before.isEmpty() ? null : before.get(0);
        return new Row(
                run.label(),
                run.history().facts().getOrDefault("recipe", "-"),
                steps.isEmpty() ? 0 : steps.get(steps.size() - 1).step(),
                training,
                first == null ? 0 : training / first.trainingLoss() - 1,
                validation,
                first == null ? 0 : validation / first.validationLoss() - 1,
                HeaderSection.median(
                        steps.stream().mapToDouble(StepMetrics::tokensPerSecond).toArray()));
    }

    /** A markdown table with a line that says what is compared. */
    public String markdown() {
        StringBuilder text = new StringBuilder();
        text.append("After ")
                .append(HumanNumbers.grouped(tokens))
                .append(" tokens (training loss: mean of the last 5% of");
        text.append(" the steps; gaps are relative to ")
                .append(cell(rows.get(0).label()))
                .append("):\n\n");
        text.append("| run | recipe | step | training loss | gap | validation loss | gap | perplexity | tokens/s |\n");
        text.append("|---|---|---:|---:|---:|---:|---:|---:|---:|\n");
        for (Row row : rows) {
            boolean first = row == rows.get(0);
            text.append("| ")
                    .append(String.join(
                            " | ",
                            cell(row.label()),
                            cell(row.recipe()),
                            HumanNumbers.grouped(row.step()),
                            value("%.4f", row.trainingLoss()),
                            first ? "-" : value("%+.2f%%", 100 * row.trainingGap()),
                            value("%.4f", row.validationLoss()),
                            first ? "-" : value("%+.2f%%", 100 * row.validationGap()),
                            value("%.2f", row.perplexity()),
                            value("%,.0f", row.tokensPerSecond())));
            text.append(" |\n");
        }
        return text.toString();
    }

    private static String value(String format, double value) {
        return Double.isFinite(value) ? String.format(Locale.ROOT, format, value) : "-";
    }

    private static String cell(String text) {
        return text.replace("|", "\\|").replace("\n", " ");
    }

    /**
     * Percent by which {@code other}'s smoothed loss is above {@code first}'s at the same tokens. Both are cut where the shorter
     * one ends, for how far a mean reaches depends on the length.
     */
    static Curve relativeGap(RunHistory first, RunHistory other) {
        long tokens = Math.min(lastTokens(first), lastTokens(other));
        Curve smoothBase = Curve.loss(first).until(tokens).smoothed();
        Curve smoothCompared = Curve.loss(other).until(tokens).smoothed().thinned(800);
        List<double[]> points = new ArrayList<>();
        for (int i = 0; i < smoothCompared.size(); i++) {
            double reference = smoothBase.at(smoothCompared.x()[i]);
            if (Double.isFinite(reference) && reference != 0) {
                points.add(new double[] {
                    smoothCompared.x()[i], 100 * (smoothCompared.y()[i] / reference - 1)
                });
            }
        }
        return new Curve(
                points.stream().mapToDouble(point -> point[0]).toArray(),
                points.stream().mapToDouble(point -> point[1]).toArray());
    }
}
