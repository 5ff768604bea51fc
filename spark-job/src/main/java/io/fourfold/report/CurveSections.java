package io.fourfold.report;

import io.fourfold.metrics.EventKind;
import io.fourfold.metrics.HumanNumbers;
import io.fourfold.metrics.RunEvent;
import io.fourfold.metrics.RunHistory;
import io.fourfold.metrics.StepMetrics;
import io.fourfold.report.LineChart.Look;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.function.ToDoubleFunction;

/** Loss, optimizer and speed over time. */
final class CurveSections {
    static final int WIDE = 1140;
    static final int HALF = 560;
    private static final int LOW = 260;
    private static final int HIGH = 380;
    private static final int CHECKPOINT_MARKS = 60;
    private static final int COLUMNS = 56;

    private CurveSections() {}

    static String loss(RunHistory run) {
        Curve training = Curve.loss(run);
        LineChart chart = new LineChart(WIDE, HIGH, "tokens", tokens -> heading(run, tokens));
        chart.addNoisy("training loss", 1, training).add("validation loss", 2, Look.DOTS, Curve.validation(run));
        long checkpoints = run.events().stream()
                .filter(event -> event.kind().equals(EventKind.CHECKPOINT))
                .count();
        for (RunEvent event : run.events()) {
            boolean mark = event.kind().equals(EventKind.CHECKPOINT) && checkpoints <= CHECKPOINT_MARKS;
            if (mark || strong(event.kind())) {
                run.tokensAt(event.step()).ifPresent(tokens -> chart.mark(tokens, label(event), strong(event.kind())));
            }
        }
        String lead = "Mean cross-entropy per token."
                + (training.worthSmoothing()
                        ? " Pale: each step. Line: weighted mean of up to " + Curve.reach(training.size())
                                + " steps on either side."
                        : "")
                + (checkpoints > 0 && checkpoints <= CHECKPOINT_MARKS ? " Small triangles: checkpoints." : "");
        return Page.section("loss", "Loss", lead, Page.chart("Loss", "nats per token", chart, true));
    }

    private static boolean strong(String kind) {
        return switch (kind) {
            case EventKind.RESUME,
                    EventKind.PRECISION_SWITCH,
                    EventKind.FAILED,
                    EventKind.NON_FINITE,
                    EventKind.CHECKPOINT_FAILED -> true;
            default -> false;
        };
    }

    private static String label(RunEvent event) {
        return event.kind().replace('_', ' ') + ", step " + HumanNumbers.grouped(event.step());
    }

    /** Names the step whose token count is nearest. */
    private static String heading(RunHistory run, double tokens) {
        List<StepMetrics> steps = run.steps();
        int low = 0;
        int high = steps.size() - 1;
        while (low < high) {
            int middle = (low + high) >>> 1;
            if (steps.get(middle).tokens() < tokens) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        return "step " + HumanNumbers.grouped(steps.get(low).step()) + ", " + HumanNumbers.compact(tokens) + " tokens";
    }

    static String optimizer(RunHistory run) {
        LineChart rate = byStep(LOW).fromZero().values(HumanNumbers::scientific);
        rate.add("learning rate", 3, Look.LINE, curve(run, StepMetrics::learningRate));
        LineChart norm = byStep(LOW).fromZero().addNoisy("gradient norm", 4, curve(run, StepMetrics::gradNorm));
        norm.logarithmicIfWide();
        return Page.section(
                "optimizer",
                "Learning rate and gradient norm",
                "",
                Page.grid(
                        Page.chart("Learning rate", "", rate, false),
                        Page.chart("Gradient norm", "global L2, before clipping", norm, false)));
    }

    static String speed(RunHistory run) {
        LineChart rate = byStep(LOW).fromZero().values(HumanNumbers::compact);
        rate.addNoisy("tokens per second", 1, curve(run, StepMetrics::tokensPerSecond));
        Curve mfu = curve(run, step -> 100 * step.mfu());
        String utilization = mfu.isEmpty()
                ? ""
                : Page.chart(
                        "MFU",
                        "model FLOP/s in percent of the devices' dense BF16 peak",
                        byStep(WIDE, LOW)
                                .fromZero()
                                .values(value -> HumanNumbers.percent(value / 100))
                                .addNoisy("MFU", 3, mfu),
                        true);
        return Page.section(
                "speed",
                "Speed",
                "",
                Page.grid(
                        Page.chart("Throughput", "tokens per second, all ranks", rate, false),
                        stepTime(run),
                        utilization));
    }

    private static String stepTime(RunHistory run) {
        Set<String> names = new LinkedHashSet<>();
        run.steps().forEach(step -> names.addAll(step.phases().keySet()));
        if (names.isEmpty()) {
            return Page.card("Step time", "", "", Page.note("This run reports no parts of a step."), false);
        }
        List<String> parts = new ArrayList<>(names);
        parts.add("rest");
        List<Stretch> stretches = Stretch.of(run.steps().size(), COLUMNS);
        double[][] values = new double[stretches.size()][parts.size()];
        double[] sums = new double[parts.size()];
        for (int column = 0; column < values.length; column++) {
            List<StepMetrics> steps = run.steps()
                    .subList(stretches.get(column).from(), stretches.get(column).to());
            for (StepMetrics step : steps) {
                addParts(step, parts, values[column]);
            }
            for (int part = 0; part < sums.length; part++) {
                sums[part] += values[column][part];
                values[column][part] /= steps.size();
            }
        }
        return stepTimeCard(run, dropEmptyRest(parts, sums), sums, stretches, values);
    }

    /** The rest is shown only where it is worth a color: from 0.5% of the time. */
    private static List<String> dropEmptyRest(List<String> parts, double[] sums) {
        double sum = 0;
        for (double part : sums) {
            sum += part;
        }
        boolean keep = sums[sums.length - 1] >= 0.005 * sum;
        return keep ? parts : parts.subList(0, parts.size() - 1);
    }

    private static void addParts(StepMetrics step, List<String> parts, double[] sums) {
        double known = 0;
        for (int part = 0; part < parts.size() - 1; part++) {
            double seconds = step.phases().getOrDefault(parts.get(part), 0.0);
            if (Double.isFinite(seconds) && seconds > 0) {
                sums[part] += seconds;
                known += seconds;
            }
        }
        if (step.stepSeconds() > known) {
            sums[parts.size() - 1] += step.stepSeconds() - known;
        }
    }

    private static String stepTimeCard(
            RunHistory run, List<String> parts, double[] sums, List<Stretch> stretches, double[][] values) {
        double sum = 0;
        for (int part = 0; part < parts.size(); part++) {
            sum += sums[part];
        }
        List<String> shares = new ArrayList<>();
        for (int part = 0; part < parts.size(); part++) {
            shares.add(HumanNumbers.significant(sum == 0 ? 0 : 100 * sums[part] / sum, 2) + "%");
        }
        List<String> headings = new ArrayList<>();
        List<String> labels = new ArrayList<>();
        double[][] shown = new double[values.length][];
        for (int column = 0; column < values.length; column++) {
            int first = run.steps().get(stretches.get(column).from()).step();
            int last = run.steps().get(stretches.get(column).to() - 1).step();
            headings.add(Stretch.name(first, last));
            labels.add(HumanNumbers.compact(first));
            shown[column] = Arrays.copyOf(values[column], parts.size());
        }
        StackedColumns columns = new StackedColumns(HALF, LOW, parts, headings, labels, shown);
        return Page.card("Step time", "seconds, rank 0", columns.legend(shares), columns.svg("step"), false);
    }

    static LineChart byStep(int height) {
        return byStep(HALF, height);
    }

    static LineChart byStep(int width, int height) {
        return new LineChart(width, height, "step", step -> "step " + HumanNumbers.grouped((long) step));
    }

    static Curve curve(RunHistory run, ToDoubleFunction<StepMetrics> value) {
        return Curve.of(run.steps(), StepMetrics::step, value);
    }
}
