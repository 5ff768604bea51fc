package io.fourfold.report;

import io.fourfold.metrics.EvalMetrics;
import io.fourfold.metrics.EventKind;
import io.fourfold.metrics.HumanNumbers;
import io.fourfold.metrics.RunEvent;
import io.fourfold.metrics.RunHistory;
import io.fourfold.metrics.StepMetrics;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** Name, status, facts and the few numbers a reader looks for first. */
final class HeaderSection {
    private static final DateTimeFormatter TIME =
            DateTimeFormatter.ofPattern("yyyy-MM-dd HH:mm 'UTC'", Locale.ROOT).withZone(ZoneOffset.UTC);

    private HeaderSection() {}

    /**
     * @param live the run goes on
     */
    static String html(String name, RunHistory run, boolean live) {
        StringBuilder html =
                new StringBuilder("<header><p class=\"eyebrow\">Fourfold training run</p><div class=\"title\"><h1>");
        html.append(Html.escape(name)).append("</h1>").append(status(run, live)).append("</div>");
        if (run.started() != null && run.updated() != null) {
            html.append("<p class=\"when\">started ").append(TIME.format(run.started()));
            html.append(", last entry ").append(TIME.format(run.updated()));
            if (run.attempts() > 1) {
                html.append(", ").append(run.attempts()).append(" starts");
            }
            html.append("</p>");
        }
        html.append("</header>\n").append(tiles(run)).append(facts(run.facts()));
        return html.toString();
    }

    private static String status(RunHistory run, boolean live) {
        String at = "step " + HumanNumbers.grouped(run.lastStep()) + " of " + HumanNumbers.grouped(run.totalSteps());
        if (run.steps().isEmpty()) {
            return badge(live ? "accent" : "idle", live ? "starting" : "no steps yet");
        }
        if (run.complete()) {
            return badge("good", "finished, " + HumanNumbers.grouped(run.totalSteps()) + " steps");
        }
        List<RunEvent> events = run.events();
        return switch (events.isEmpty() ? "" : events.get(events.size() - 1).kind()) {
            case EventKind.FAILED, EventKind.NON_FINITE -> badge("bad", "failed at " + at);
            case EventKind.STOP -> badge("warn", "stopped at " + at);
            default -> live ? badge("accent", "training, " + at) : badge("warn", "unfinished, " + at);
        };
    }

    private static String badge(String style, String text) {
        return "<span class=\"badge " + style + "\">" + Html.escape(text) + "</span>";
    }

    private static String facts(Map<String, String> facts) {
        StringBuilder html = new StringBuilder("<section id=\"facts\"><dl class=\"facts\">");
        facts.forEach((name, value) -> html.append("<div><dt>")
                .append(Html.escape(name.replace('_', ' ')))
                .append("</dt><dd>")
                .append(Html.escape(value))
                .append("</dd></div>"));
        if (facts.isEmpty()) {
            html.append("<div><dt>facts</dt><dd>none recorded</dd></div>");
        }
        return html.append("</dl></section>\n").toString();
    }

    private static String tiles(RunHistory run) {
        StringBuilder html = new StringBuilder("<section id=\"summary\"><div class=\"tiles\">");
        loss(html, run);
        perplexity(html, run.evaluations());
        throughput(html, run.steps());
        tokens(html, run);
        time(html, run);
        return html.append("</div></section>\n").toString();
    }

    private static void loss(StringBuilder html, RunHistory run) {
        Curve loss = Curve.loss(run);
        if (loss.isEmpty()) {
            tile(html, "Training loss", "-", "no finite loss yet");
        } else {
            tile(
                    html,
                    "Training loss",
                    HumanNumbers.measure(loss.finalMean()),
                    "last 5%, from " + HumanNumbers.significant(loss.y()[0], 4));
        }
    }

    private static void perplexity(StringBuilder html, List<EvalMetrics> evaluations) {
        if (evaluations.isEmpty()) {
            tile(html, "Validation perplexity", "-", "no validation yet");
        } else {
            EvalMetrics last = evaluations.get(evaluations.size() - 1);
            tile(
                    html,
                    "Validation perplexity",
                    HumanNumbers.significant(last.perplexity(), 4),
                    "loss " + HumanNumbers.measure(last.loss()) + " at step " + HumanNumbers.grouped(last.step()));
        }
    }

    private static void throughput(StringBuilder html, List<StepMetrics> steps) {
        if (steps.isEmpty()) {
            tile(html, "Tokens per second", "-", "no step yet");
            return;
        }
        double flops =
                median(steps.stream().mapToDouble(StepMetrics::flopsPerSecond).toArray());
        double mfu = median(steps.stream().mapToDouble(StepMetrics::mfu).toArray());
        String detail = "median";
        if (flops > 0) {
            detail += ", " + HumanNumbers.flops(flops);
        }
        if (Double.isFinite(mfu)) {
            detail += ", MFU " + HumanNumbers.percent(mfu);
        }
        double rate =
                median(steps.stream().mapToDouble(StepMetrics::tokensPerSecond).toArray());
        tile(html, "Tokens per second", HumanNumbers.compact(rate), detail);
    }

    private static void tokens(StringBuilder html, RunHistory run) {
        if (run.steps().isEmpty()) {
            tile(html, "Tokens seen", "0", "of " + HumanNumbers.grouped(run.totalSteps()) + " planned steps");
            return;
        }
        long tokens = run.steps().get(run.steps().size() - 1).tokens();
        double planned = (double) tokens / run.lastStep() * run.totalSteps();
        String detail = run.complete()
                ? HumanNumbers.compact((double) tokens / run.lastStep()) + " a step"
                : HumanNumbers.percent((double) run.lastStep() / Math.max(1, run.totalSteps())) + " of about "
                        + HumanNumbers.compact(planned);
        tile(html, "Tokens seen", HumanNumbers.compact(tokens), detail);
    }

    private static void time(StringBuilder html, RunHistory run) {
        double[] seconds = run.steps().stream()
                .mapToDouble(StepMetrics::stepSeconds)
                .filter(Double::isFinite)
                .toArray();
        double sum = 0;
        for (double step : seconds) {
            sum += step;
        }
        tile(
                html,
                "Training time",
                // Of a long run not every step may be at hand.
                HumanNumbers.duration(seconds.length == 0 ? 0 : sum / seconds.length * run.lastStep()),
                seconds.length == 0 ? "no step yet" : "median step " + HumanNumbers.duration(median(seconds)));
    }

    private static void tile(StringBuilder html, String label, String value, String detail) {
        html.append("<div class=\"tile\"><span class=\"label\">").append(Html.escape(label));
        html.append("</span><span class=\"value\">").append(Html.escape(value));
        html.append("</span><span class=\"detail\">")
                .append(Html.escape(detail))
                .append("</span></div>");
    }

    /** Median of the finite values, NaN without any. */
    static double median(double[] values) {
        double[] sorted =
                Arrays.stream(values).filter(Double::isFinite).sorted().toArray();
        return sorted.length == 0 ? Double.NaN : (sorted[sorted.length / 2] + sorted[(sorted.length - 1) / 2]) / 2;
    }
}
