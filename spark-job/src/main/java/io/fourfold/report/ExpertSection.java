package io.fourfold.report;

import io.fourfold.metrics.HumanNumbers;
import io.fourfold.metrics.RunHistory;
import io.fourfold.metrics.StepMetrics;
import io.fourfold.metrics.StepMetrics.LayerLoad;
import io.fourfold.report.LineChart.Look;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.TreeMap;
import java.util.function.ToDoubleFunction;
import java.util.stream.DoubleStream;

/** How evenly the routers spread tokens over the experts. */
final class ExpertSection {
    private static final int COLUMNS = 96;
    private static final int MOST_LAYERS = 24;
    private static final int MOST_ROWS = 128;
    private static final double FULL_COLOR = 4;
    private static final int HEIGHT = 240;

    private ExpertSection() {}

    static String html(RunHistory run) {
        List<StepMetrics> sampled = run.steps().stream()
                .filter(step -> !step.expertLoad().isEmpty())
                .toList();
        if (sampled.isEmpty()) {
            return Page.section(
                    "experts",
                    "Expert load",
                    "",
                    Page.note("No expert loads were recorded (a dense model, or no step yet)."));
        }
        HeatMap.Palette.Ratio palette = new HeatMap.Palette.Ratio(FULL_COLOR);
        String legend =
                HeatMap.legend(palette, 1 / FULL_COLOR, FULL_COLOR, true, "a quarter", "four times the fair share");
        String lead =
                "Tokens of an expert over the mean of its layer; no color is a perfect balance. Maps of one layer have a row for each expert and columns of steps.";
        return Page.section(
                "experts",
                "Expert load",
                lead,
                balance(run, sampled) + "<div class=\"legend above\">" + legend + "</div>"
                        + Page.grid(ExpertMap.card(sampled, palette)) + maps(sampled, palette));
    }

    private static String balance(RunHistory run, List<StepMetrics> sampled) {
        List<String> cards = new ArrayList<>();
        addIfUsed(cards, run, "Load-balancing loss", "as added to the objective", 5, StepMetrics::auxLoss);
        addIfUsed(cards, run, "Router z-loss", "as added to the objective", 6, StepMetrics::zLoss);
        addIfUsed(cards, run, "Dropped slots", "share of all slots", 4, StepMetrics::dropped);
        // Two cards a row: an even number of others leaves a row of its own.
        boolean wide = cards.size() % 2 == 0;
        LineChart imbalance = CurveSections.byStep(wide ? CurveSections.WIDE : CurveSections.HALF, HEIGHT)
                .values(v -> HumanNumbers.significant(v, 3) + "x");
        imbalance.add(
                "worst layer",
                2,
                Look.LINE,
                Curve.of(sampled, StepMetrics::step, s -> imbalances(s).max().orElse(Double.NaN)));
        imbalance.add(
                "mean of layers",
                1,
                Look.LINE,
                Curve.of(
                        sampled, StepMetrics::step, s -> imbalances(s).average().orElse(Double.NaN)));
        cards.add(0, Page.chart("Imbalance", "fullest expert over the mean", imbalance, wide));
        return Page.grid(cards.toArray(new String[0]));
    }

    private static DoubleStream imbalances(StepMetrics step) {
        return step.expertLoad().stream().mapToDouble(LayerLoad::imbalance).filter(Double::isFinite);
    }

    private static void addIfUsed(
            List<String> cards,
            RunHistory run,
            String title,
            String unit,
            int color,
            ToDoubleFunction<StepMetrics> value) {
        Curve curve = CurveSections.curve(run, value);
        if (curve.largest() > 0) {
            cards.add(Page.chart(
                    title,
                    unit,
                    CurveSections.byStep(HEIGHT).addNoisy(title, color, curve).logarithmicIfWide(),
                    false));
        }
    }

    private static String maps(List<StepMetrics> sampled, HeatMap.Palette palette) {
        TreeMap<Integer, Integer> experts = new TreeMap<>();
        for (StepMetrics step : sampled) {
            for (LayerLoad load : step.expertLoad()) {
                experts.merge(load.layer(), load.tokens().length, Math::max);
            }
        }
        List<Integer> layers = new ArrayList<>(experts.keySet());
        List<Stretch> shown = Stretch.of(layers.size(), MOST_LAYERS);
        StringBuilder html = new StringBuilder();
        if (layers.size() > shown.size()) {
            html.append(Page.note(shown.size() + " of " + layers.size() + " layers, evenly spaced."));
        }
        html.append("<div class=\"maps\">");
        for (Stretch stretch : shown) {
            int layer = layers.get(stretch.from());
            html.append(map(sampled, layer, experts.getOrDefault(layer, 0), palette));
        }
        return html.append("</div>").toString();
    }

    private static String map(List<StepMetrics> sampled, int layer, int experts, HeatMap.Palette palette) {
        List<Stretch> columns = Stretch.of(sampled.size(), COLUMNS);
        List<Stretch> rows = Stretch.of(experts, MOST_ROWS);
        double[][] values = new double[rows.size()][columns.size()];
        List<String> headings = new ArrayList<>();
        for (int column = 0; column < columns.size(); column++) {
            Stretch stretch = columns.get(column);
            List<StepMetrics> steps = sampled.subList(stretch.from(), stretch.to());
            double[] ratios = meanRatios(steps, layer, experts);
            for (int row = 0; row < rows.size(); row++) {
                // Experts that share a row show their fullest, so that no hot expert hides.
                values[row][column] = Arrays.stream(
                                ratios, rows.get(row).from(), rows.get(row).to())
                        .max()
                        .orElse(Double.NaN);
            }
            headings.add(Stretch.name(
                    steps.get(0).step(), steps.get(steps.size() - 1).step()));
        }
        List<String> names = rows.stream()
                .map(row ->
                        row.to() - row.from() == 1 ? Integer.toString(row.from()) : row.from() + "-" + (row.to() - 1))
                .toList();
        HeatMap map = new HeatMap("expert ", names, headings, values, palette);
        int height = Math.max(72, Math.min(240, 12 * rows.size()));
        return Page.card(
                "Layer " + layer,
                experts + " experts",
                "",
                map.svg(
                        356,
                        0,
                        height,
                        Stretch.ends(
                                sampled.get(0).step(),
                                sampled.get(sampled.size() - 1).step()),
                        value -> HumanNumbers.significant(value, 3) + "x"),
                false);
    }

    /** Mean over the steps of tokens over the layer's mean, per expert; NaN where the layer had no tokens. */
    private static double[] meanRatios(List<StepMetrics> steps, int layer, int experts) {
        double[] sums = new double[experts];
        int counted = 0;
        for (StepMetrics step : steps) {
            for (LayerLoad load : step.expertLoad()) {
                long total = load.layer() == layer
                        ? Arrays.stream(load.tokens()).asLongStream().sum()
                        : 0;
                if (total > 0) {
                    counted++;
                    for (int expert = 0; expert < load.tokens().length; expert++) {
                        sums[expert] += (double) load.tokens()[expert] * load.tokens().length / total;
                    }
                }
            }
        }
        for (int expert = 0; expert < experts; expert++) {
            sums[expert] = counted == 0 ? Double.NaN : sums[expert] / counted;
        }
        return sums;
    }
}
