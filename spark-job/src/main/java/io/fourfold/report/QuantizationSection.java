package io.fourfold.report;

import io.fourfold.kernels.op.QuantStats;
import io.fourfold.metrics.HumanNumbers;
import io.fourfold.metrics.OperandName;
import io.fourfold.metrics.RunHistory;
import io.fourfold.metrics.StepMetrics;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;

/** What quantization lost: by operand over the steps, by operand and layer, and the worst operands in numbers. */
final class QuantizationSection {
    private static final int COLUMNS = 96;
    private static final int WORST = 15;
    /** The newest samples that the table and the layer map average. */
    private static final double NEWEST_SHARE = 0.2;

    private QuantizationSection() {}

    static String html(RunHistory run) {
        List<StepMetrics> sampled = run.steps().stream()
                .filter(step -> !step.quantization().isEmpty())
                .toList();
        String title = "Quantization";
        if (sampled.isEmpty()) {
            return Page.section(
                    "quantization",
                    title,
                    "",
                    Page.note(
                            "No quantization statistics: the recipe quantizes nothing, or recipe.telemetry_every is 0."));
        }
        int newest = Math.max(1, (int) Math.ceil(NEWEST_SHARE * sampled.size()));
        List<StepMetrics> last = sampled.subList(sampled.size() - newest, sampled.size());
        Map<String, QuantStats> sums = new TreeMap<>();
        last.forEach(step -> step.quantization().forEach((name, stats) -> sums.merge(name, stats, QuantStats::plus)));
        String period =
                Stretch.name(last.get(0).step(), last.get(last.size() - 1).step());

        List<String> operands =
                new ArrayList<>(new TreeSet<>(sampled.get(sampled.size() - 1).quantization().keySet().stream()
                        .map(name -> OperandName.parse(name).operand())
                        .toList()));
        double[][] byStep = overSteps(sampled, operands);
        List<String> layers = new ArrayList<>();
        double[][] byLayer = overLayers(sums, operands, layers);
        HeatMap.Palette.Sequential palette =
                new HeatMap.Palette.Sequential(roundUp(Math.max(largest(byStep), largest(byLayer))));
        String legend = HeatMap.legend(palette, 0, palette.top(), false, "0%", HumanNumbers.percent(palette.top()));
        int labelWidth =
                14 + 7 * operands.stream().mapToInt(String::length).max().orElse(0);
        int height = Math.max(90, 17 * operands.size());
        List<String> cards = new ArrayList<>();
        cards.add(Page.card(
                "Underflow by operand over steps",
                "all layers",
                "",
                new HeatMap("", operands, stepNames(sampled), byStep, palette)
                        .svg(
                                CurveSections.WIDE,
                                labelWidth,
                                height,
                                Stretch.ends(
                                        sampled.get(0).step(),
                                        sampled.get(sampled.size() - 1).step()),
                                HumanNumbers::percent),
                true));
        if (!layers.isEmpty()) {
            List<String> names = layers.stream().map(layer -> "layer " + layer).toList();
            cards.add(Page.card(
                    "Underflow by operand and layer",
                    period,
                    "",
                    new HeatMap("", operands, names, byLayer, palette)
                            .svg(CurveSections.WIDE, labelWidth, height, names, HumanNumbers::percent),
                    true));
        }
        String lead =
                "Underflow: share of the elements that were not zero and became zero. An operand is named by its linear"
                        + " layer, its GEMM (fprop, dgrad, wgrad) and its side.";
        return Page.section(
                "quantization",
                title,
                lead,
                "<div class=\"legend above\">" + legend + "</div>" + Page.grid(cards.toArray(new String[0]))
                        + worst(sums, period));
    }

    private static double[][] overSteps(List<StepMetrics> sampled, List<String> operands) {
        List<Stretch> columns = Stretch.of(sampled.size(), COLUMNS);
        double[][] values = new double[operands.size()][columns.size()];
        for (int column = 0; column < columns.size(); column++) {
            Map<String, QuantStats> sums = new TreeMap<>();
            for (StepMetrics step : sampled.subList(
                    columns.get(column).from(), columns.get(column).to())) {
                step.quantization()
                        .forEach((name, stats) ->
                                sums.merge(OperandName.parse(name).operand(), stats, QuantStats::plus));
            }
            for (int row = 0; row < operands.size(); row++) {
                QuantStats stats = sums.get(operands.get(row));
                values[row][column] = stats == null ? Double.NaN : stats.underflowShare();
            }
        }
        return values;
    }

    private static List<String> stepNames(List<StepMetrics> sampled) {
        return Stretch.of(sampled.size(), COLUMNS).stream()
                .map(stretch -> Stretch.name(
                        sampled.get(stretch.from()).step(),
                        sampled.get(stretch.to() - 1).step()))
                .toList();
    }

    /** Fills {@code layers} with the names of the columns. */
    private static double[][] overLayers(Map<String, QuantStats> sums, List<String> operands, List<String> layers) {
        TreeSet<Integer> numbers = new TreeSet<>();
        sums.keySet().forEach(name -> OperandName.parse(name).layer().ifPresent(numbers::add));
        List<Integer> columns = new ArrayList<>(numbers);
        columns.forEach(layer -> layers.add(layer.toString()));
        double[][] values = new double[operands.size()][columns.size()];
        for (double[] row : values) {
            Arrays.fill(row, Double.NaN);
        }
        sums.forEach((name, stats) -> {
            OperandName parsed = OperandName.parse(name);
            int row = operands.indexOf(parsed.operand());
            if (row >= 0 && parsed.layer().isPresent()) {
                values[row][columns.indexOf(parsed.layer().getAsInt())] = stats.underflowShare();
            }
        });
        return values;
    }

    private static double largest(double[][] values) {
        return Arrays.stream(values)
                .flatMapToDouble(Arrays::stream)
                .filter(Double::isFinite)
                .max()
                .orElse(0);
    }

    /** The next of 1, 2, 3, 5 times a power of ten, at least a tenth of a percent. */
    static double roundUp(double share) {
        double least = Math.max(share, 0.001);
        double power = Math.pow(10, Math.floor(Math.log10(least)));
        double lead = least / power;
        return Math.min(1, (lead <= 1 ? 1 : lead <= 2 ? 2 : lead <= 3 ? 3 : lead <= 5 ? 5 : 10) * power);
    }

    private static String worst(Map<String, QuantStats> sums, String period) {
        List<Map.Entry<String, QuantStats>> rows = sums.entrySet().stream()
                .sorted(Comparator.comparingDouble((Map.Entry<String, QuantStats> entry) ->
                                -entry.getValue().underflowShare())
                        .thenComparing(Map.Entry::getKey))
                .limit(WORST)
                .toList();
        double most = rows.isEmpty() ? 0 : rows.get(0).getValue().underflowShare();
        StringBuilder html = new StringBuilder("<table><thead><tr><th>operand</th><th class=\"n\">layer</th>");
        html.append(
                "<th class=\"n\">underflow</th><th></th><th class=\"n\">saturated</th><th class=\"n\">empty scales</th>");
        html.append("<th class=\"n\">SQNR</th><th class=\"n\">amax</th></tr></thead><tbody>");
        for (Map.Entry<String, QuantStats> row : rows) {
            QuantStats stats = row.getValue();
            OperandName name = OperandName.parse(row.getKey());
            html.append("<tr><td><code>").append(Html.escape(name.operand())).append("</code></td>");
            number(
                    html,
                    name.layer().isPresent() ? Integer.toString(name.layer().getAsInt()) : "-");
            number(html, HumanNumbers.percent(stats.underflowShare()));
            double share = most == 0 ? 0 : 100 * stats.underflowShare() / most;
            html.append("<td class=\"meter\"><i style=\"width:")
                    .append(ChartJson.pixel(share))
                    .append("%\"></i></td>");
            number(html, HumanNumbers.percent(stats.saturatedShare()));
            number(
                    html,
                    HumanNumbers.percent(stats.blocks() == 0 ? 0 : (double) stats.scaleUnderflows() / stats.blocks()));
            number(html, decibels(stats.sqnrDb()));
            number(html, HumanNumbers.significant(stats.amax(), 3));
            html.append("</tr>");
        }
        html.append("</tbody></table>");
        return Page.card("Worst operands", period, "", html.toString(), true);
    }

    private static String decibels(double value) {
        return Double.isNaN(value)
                ? "-"
                : value == Double.POSITIVE_INFINITY ? "exact" : String.format(Locale.ROOT, "%.1f dB", value);
    }

    private static void number(StringBuilder html, String text) {
        html.append("<td class=\"n\">").append(Html.escape(text)).append("</td>");
    }
}
