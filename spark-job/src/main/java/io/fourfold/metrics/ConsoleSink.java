package io.fourfold.metrics;

import static io.fourfold.metrics.HumanNumbers.compact;
import static io.fourfold.metrics.HumanNumbers.duration;
import static io.fourfold.metrics.HumanNumbers.grouped;
import static io.fourfold.metrics.HumanNumbers.measure;
import static io.fourfold.metrics.HumanNumbers.scientific;

import java.io.PrintStream;
import java.util.Locale;
import java.util.Map;

/**
 * What a person sees: a table of facts, a line every n steps, evaluations, events, and on a terminal a progress line that
 * is redrawn in place.
 *
 * <p>A step line is made of fields two blanks apart, each a name and a value one blank apart, always in this order (mfu
 * only where the devices' peak is known):
 *
 * <pre>step 20/100  loss 5.4321  grad_norm 0.8420  lr 3.00e-04  tokens 163840  tokens/s 12345  s/step 0.664  eta 53.1s</pre>
 *
 * <p>Evaluation lines start with {@code eval step}, event lines with {@code [kind] step}.
 */
public final class ConsoleSink implements MetricsSink {
    private static final int BAR_WIDTH = 24;
    private static final String ERASE_LINE = "\r\u001b[K";

    private final PrintStream out;
    private final int logEvery;
    private final boolean interactive;
    private final StepTimer timer = new StepTimer();
    private int firstStep = 1;
    private int totalSteps;
    private boolean progressShown;

    /**
     * Prints to a stream.
     *
     * @param logEvery steps between two step lines; the first and the last step always have one
     */
    public ConsoleSink(PrintStream out, int logEvery) {
        this(out, logEvery, Terminal.interactive());
    }

    /** As above, with the progress line forced on or off. */
    public ConsoleSink(PrintStream out, int logEvery, boolean interactive) {
        if (logEvery < 1) {
            throw new IllegalArgumentException("logEvery must be at least 1, not " + logEvery);
        }
        this.out = out;
        this.logEvery = logEvery;
        this.interactive = interactive;
    }

    @Override
    public void start(Map<String, String> facts, int firstStep, int totalSteps) {
        this.firstStep = firstStep;
        this.totalSteps = totalSteps;
        int width = facts.keySet().stream().mapToInt(String::length).max().orElse(0);
        StringBuilder table = new StringBuilder();
        String line = System.lineSeparator();
        for (Map.Entry<String, String> fact : facts.entrySet()) {
            table.append(String.format(Locale.ROOT, "  %-" + width + "s  %s%s", fact.getKey(), fact.getValue(), line));
        }
        if (firstStep > totalSteps) {
            table.append("  already done: ")
                    .append(firstStep - 1)
                    .append(" steps")
                    .append(line);
        } else if (firstStep > 1) {
            table.append("  continues at step ")
                    .append(firstStep)
                    .append(" of ")
                    .append(totalSteps)
                    .append(line);
        }
        print(table.toString());
    }

    @Override
    public void step(StepMetrics metrics) {
        timer.add(metrics.stepSeconds());
        int step = metrics.step();
        if (step == firstStep || step == totalSteps || step % logEvery == 0) {
            print(stepLine(metrics) + System.lineSeparator());
        }
        if (interactive) {
            drawProgress(metrics);
        }
    }

    private String stepLine(StepMetrics metrics) {
        StringBuilder line = new StringBuilder();
        line.append("step ").append(metrics.step()).append('/').append(totalSteps);
        line.append("  loss ").append(measure(metrics.loss()));
        line.append("  grad_norm ").append(measure(metrics.gradNorm()));
        line.append("  lr ").append(scientific(metrics.learningRate()));
        line.append("  tokens ").append(metrics.tokens());
        line.append("  tokens/s ").append(String.format(Locale.ROOT, "%.0f", metrics.tokensPerSecond()));
        line.append("  s/step ").append(String.format(Locale.ROOT, "%.3f", metrics.stepSeconds()));
        if (Double.isFinite(metrics.mfu())) {
            line.append("  mfu ").append(String.format(Locale.ROOT, "%.1f%%", 100 * metrics.mfu()));
        }
        // One word, so that a line splits at blanks.
        line.append("  eta ").append(eta(metrics.step()).replace(" ", ""));
        return line.toString();
    }

    private String eta(int step) {
        return duration(timer.remaining(step, totalSteps));
    }

    private void drawProgress(StepMetrics metrics) {
        if (metrics.step() >= totalSteps) {
            clearProgress();
            return;
        }
        double done = Math.min(1, (double) metrics.step() / totalSteps);
        int filled = (int) Math.floor(done * BAR_WIDTH);
        String bar = "=".repeat(filled) + ">" + " ".repeat(BAR_WIDTH - filled);
        out.print(ERASE_LINE
                + String.format(
                        Locale.ROOT,
                        "[%s] %3.0f%%  step %d/%d  loss %.4f  %s tokens/s  ETA %s",
                        bar.substring(0, BAR_WIDTH),
                        100 * done,
                        metrics.step(),
                        totalSteps,
                        metrics.loss(),
                        compact(metrics.tokensPerSecond()),
                        eta(metrics.step())));
        out.flush();
        progressShown = true;
    }

    @Override
    public void evaluation(EvalMetrics metrics) {
        print(String.format(
                Locale.ROOT,
                "eval step %d  loss %s  perplexity %s  tokens %d  seconds %.2f%n",
                metrics.step(),
                measure(metrics.loss()),
                HumanNumbers.significant(metrics.perplexity(), 5),
                metrics.tokens(),
                metrics.seconds()));
    }

    @Override
    public void event(int step, String kind, String message) {
        print(String.format(Locale.ROOT, "[%s] step %s: %s%n", kind, grouped(step), message));
    }

    @Override
    public void close() {
        clearProgress();
        out.flush();
    }

    private void print(String text) {
        clearProgress();
        out.print(text);
        out.flush();
    }

    private void clearProgress() {
        if (progressShown) {
            out.print(ERASE_LINE);
            out.flush();
            progressShown = false;
        }
    }
}
