package io.fourfold.report;

import io.fourfold.metrics.HumanNumbers;
import io.fourfold.metrics.StepMetrics;
import io.fourfold.metrics.StepMetrics.LayerLoad;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** Load of every expert of every layer at once, over the newest sampled steps. */
final class ExpertMap {
    private static final int NEWEST = 10;
    private static final int MOST_COLUMNS = 256;
    private static final int MOST_ROWS = 64;

    private ExpertMap() {}

    /**
     * @param sampled steps with expert loads, at least one
     */
    static String card(List<StepMetrics> sampled, HeatMap.Palette palette) {
        List<StepMetrics> newest = sampled.subList(Math.max(0, sampled.size() - NEWEST), sampled.size());
        Map<Integer, long[]> sums = new TreeMap<>();
        for (StepMetrics step : newest) {
            for (LayerLoad load : step.expertLoad()) {
                long[] sum = sums.computeIfAbsent(load.layer(), layer -> new long[load.tokens().length]);
                for (int expert = 0; expert < Math.min(sum.length, load.tokens().length); expert++) {
                    sum[expert] += load.tokens()[expert];
                }
            }
        }
        List<Integer> layers = new ArrayList<>(sums.keySet());
        int experts = sums.values().stream().mapToInt(sum -> sum.length).max().orElse(1);
        List<Stretch> rows = Stretch.of(layers.size(), MOST_ROWS);
        List<Stretch> columns = Stretch.of(experts, MOST_COLUMNS);
        double[][] values = new double[rows.size()][];
        List<String> names = new ArrayList<>();
        for (int row = 0; row < values.length; row++) {
            int layer = layers.get(rows.get(row).from());
            names.add(Integer.toString(layer));
            values[row] = ratios(sums.getOrDefault(layer, new long[0]), columns);
        }
        List<String> headings = columns.stream().map(ExpertMap::name).toList();
        HeatMap map = new HeatMap("layer ", names, headings, values, palette);
        int height = Math.max(60, Math.min(420, 18 * rows.size()));
        return Page.card(
                "Layers by experts",
                Stretch.name(newest.get(0).step(), newest.get(newest.size() - 1).step())
                        + "; rows: layers, columns: experts",
                "",
                map.svg(
                        CurveSections.WIDE,
                        0,
                        height,
                        columns.size() == experts && experts <= 64 ? numbers(experts) : ends(experts),
                        value -> HumanNumbers.significant(value, 3) + "x"),
                true);
    }

    private static String name(Stretch stretch) {
        return stretch.to() - stretch.from() == 1
                ? "expert " + stretch.from()
                : "experts " + stretch.from() + " to " + (stretch.to() - 1);
    }

    private static List<String> numbers(int experts) {
        List<String> numbers = new ArrayList<>();
        for (int expert = 0; expert < experts; expert++) {
            numbers.add(Integer.toString(expert));
        }
        return numbers;
    }

    private static List<String> ends(int experts) {
        return List.of("expert 0", "expert " + (experts - 1));
    }

    /** Tokens over the layer's mean; experts that share a column show their fullest. NaN where there were no tokens. */
    private static double[] ratios(long[] tokens, List<Stretch> columns) {
        double[] ratios = new double[columns.size()];
        long total = Arrays.stream(tokens).sum();
        for (int column = 0; column < ratios.length; column++) {
            Stretch stretch = columns.get(column);
            long most = -1;
            for (int expert = stretch.from(); expert < Math.min(stretch.to(), tokens.length); expert++) {
                most = Math.max(most, tokens[expert]);
            }
            ratios[column] = total == 0 || most < 0 ? Double.NaN : (double) most * tokens.length / total;
        }
        return ratios;
    }
}
