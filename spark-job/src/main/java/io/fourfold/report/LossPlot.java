package io.fourfold.report;

import io.fourfold.metrics.HumanNumbers;
import io.fourfold.metrics.RunHistory;
import java.awt.BasicStroke;
import java.awt.Color;
import java.awt.Font;
import java.awt.Graphics2D;
import java.awt.RenderingHints;
import java.awt.image.BufferedImage;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import javax.imageio.ImageIO;
import org.knowm.xchart.XYChart;
import org.knowm.xchart.XYChartBuilder;
import org.knowm.xchart.XYSeries;
import org.knowm.xchart.style.Styler;
import org.knowm.xchart.style.XYStyler;
import org.knowm.xchart.style.markers.SeriesMarkers;

/** Loss over tokens as a PNG file; needs no display. */
public final class LossPlot {
    /** The plot's name in a run folder. */
    public static final String FILE_NAME = "loss.png";

    private static final int WIDTH = 1000;
    private static final int HEIGHT = 560;
    private static final int GAP_HEIGHT = 250;
    /** Pixels per point, for sharp text. */
    private static final int DENSITY = 2;

    private static final int POINTS = 800;
    private static final Color INK = new Color(0x20242c);
    private static final Color SOFT = new Color(0x5d6675);
    private static final Color GRID = new Color(0xe6e8ed);
    private static final Color[] COLORS = {
        new Color(0x2563c9), new Color(0xd9720f), new Color(0x16916a), new Color(0x8446d6), new Color(0xcf3e78)
    };

    private LossPlot() {}

    /** One run: every step pale, its moving average, and the validations. */
    public static void write(Path png, RunHistory run) throws IOException {
        Curve training = Curve.loss(run);
        requirePoints(training);
        XYChart chart = chart("Training and validation loss", HEIGHT, last(run));
        frame(chart, training, last(run));
        training(chart, "training", training, 0);
        Curve validation = Curve.validation(run);
        if (!validation.isEmpty()) {
            XYSeries series = add(chart, "validation", validation, COLORS[1], 1.4f);
            series.setMarker(SeriesMarkers.CIRCLE);
            series.setMarkerColor(COLORS[1]);
        }
        save(png, List.of(chart));
    }

    /**
     * Several runs over each other, and below them how far each is from the first in percent of the first's smoothed loss
     * at the same number of tokens.
     */
    public static void overlay(Path png, List<NamedRun> runs) throws IOException {
        if (runs.size() < 2) {
            throw new IllegalArgumentException("A comparison needs at least two runs, not " + runs.size());
        }
        XYChart losses = chart("Training loss" + validationNote(runs), HEIGHT, last(runs));
        for (int i = 0; i < runs.size(); i++) {
            Curve training = Curve.loss(runs.get(i).history());
            requirePoints(training);
            if (i == 0) {
                frame(losses, training, last(runs));
            }
            training(losses, runs.get(i).label(), training, i);
            Curve validation = Curve.validation(runs.get(i).history());
            if (!validation.isEmpty()) {
                XYSeries series = add(losses, runs.get(i).label() + " validation", validation, color(i), 1f);
                series.setXYSeriesRenderStyle(XYSeries.XYSeriesRenderStyle.Scatter);
                series.setMarker(i % 2 == 0 ? SeriesMarkers.CIRCLE : SeriesMarkers.DIAMOND);
                series.setMarkerColor(color(i));
                series.setShowInLegend(false);
            }
        }
        save(png, List.of(losses, gaps(runs)));
    }

    private static double last(RunHistory run) {
        return run.steps().get(run.steps().size() - 1).tokens();
    }

    private static double last(List<NamedRun> runs) {
        return runs.stream().mapToDouble(run -> last(run.history())).max().orElseThrow();
    }

    private static String validationNote(List<NamedRun> runs) {
        boolean validated =
                runs.stream().anyMatch(run -> !Curve.validation(run.history()).isEmpty());
        return validated ? " (points: validation)" : "";
    }

    private static XYChart gaps(List<NamedRun> runs) {
        XYChart chart = chart("Difference from " + runs.get(0).label() + ", smoothed", GAP_HEIGHT, last(runs));
        chart.setYAxisTitle("percent");
        chart.getStyler().setLegendVisible(runs.size() > 2);
        Curve zero = Curve.loss(runs.get(0).history());
        Curve ends = new Curve(new double[] {zero.x()[0], zero.x()[zero.size() - 1]}, new double[2]);
        add(chart, runs.get(0).label(), ends, SOFT, 1f).setShowInLegend(false);
        for (int i = 1; i < runs.size(); i++) {
            Curve gap =
                    RunComparison.relativeGap(runs.get(0).history(), runs.get(i).history());
            if (!gap.isEmpty()) {
                add(chart, runs.get(i).label(), gap, color(i), 2f);
            }
        }
        return chart;
    }

    /** XChart puts ticks at the points of the first series; with these two it chooses round values. */
    private static void frame(XYChart chart, Curve training, double lastToken) {
        double[] y = {training.y()[0], training.y()[0]};
        XYSeries series = add(chart, "frame", new Curve(new double[] {0, lastToken}, y), new Color(0, true), 1f);
        series.setShowInLegend(false);
    }

    private static void training(XYChart chart, String name, Curve training, int index) {
        if (!training.worthSmoothing()) {
            XYSeries series = add(chart, name, training, color(index), 2.2f);
            series.setMarker(training.size() == 1 ? SeriesMarkers.CIRCLE : SeriesMarkers.NONE);
            series.setMarkerColor(color(index));
            return;
        }
        Color base = color(index);
        Color pale = new Color(base.getRed(), base.getGreen(), base.getBlue(), 60);
        add(chart, name + " each step", training.envelope(2 * POINTS), pale, 1f).setShowInLegend(false);
        add(chart, name, training.smoothed().thinned(POINTS), base, 2.2f);
    }

    private static XYSeries add(XYChart chart, String name, Curve curve, Color color, float width) {
        // XChart tells series apart by their names.
        String unique = name;
        for (int number = 2; chart.getSeriesMap().containsKey(unique); number++) {
            unique = name + " (" + number + ")";
        }
        XYSeries series = chart.addSeries(unique, curve.x(), curve.y());
        series.setLabel(name);
        series.setMarker(SeriesMarkers.NONE);
        series.setLineColor(color);
        series.setLineStyle(new BasicStroke(width, BasicStroke.CAP_ROUND, BasicStroke.JOIN_ROUND));
        return series;
    }

    private static Color color(int index) {
        return COLORS[index % COLORS.length];
    }

    private static void requirePoints(Curve training) throws IOException {
        if (training.isEmpty()) {
            throw new IOException("There is no step with a finite loss to plot");
        }
    }

    private static XYChart chart(String title, int height, double lastToken) {
        XYChart chart = new XYChartBuilder()
                .width(WIDTH)
                .height(height)
                .title(title)
                .xAxisTitle("tokens")
                .yAxisTitle("nats per token")
                .build();
        XYStyler styler = chart.getStyler();
        styler.setChartBackgroundColor(Color.WHITE);
        styler.setPlotBackgroundColor(Color.WHITE);
        styler.setPlotBorderVisible(false);
        styler.setPlotGridLinesColor(GRID);
        styler.setPlotGridLinesStroke(new BasicStroke(1f));
        styler.setPlotGridVerticalLinesVisible(false);
        styler.setAxisTickMarksColor(GRID);
        styler.setAxisTickLabelsColor(SOFT);
        styler.setChartFontColor(INK);
        styler.setChartTitleBoxVisible(false);
        styler.setChartTitleFont(new Font(Font.SANS_SERIF, Font.BOLD, 17));
        styler.setAxisTitleFont(new Font(Font.SANS_SERIF, Font.PLAIN, 13));
        styler.setAxisTickLabelsFont(new Font(Font.SANS_SERIF, Font.PLAIN, 12));
        styler.setLegendFont(new Font(Font.SANS_SERIF, Font.PLAIN, 13));
        styler.setLegendPosition(Styler.LegendPosition.InsideNE);
        styler.setLegendBorderColor(new Color(255, 255, 255, 0));
        styler.setLegendBackgroundColor(new Color(255, 255, 255, 0));
        styler.setChartPadding(16);
        styler.setPlotMargin(4);
        styler.setMarkerSize(7);
        styler.setXAxisMin(0.0);
        styler.setXAxisMax(lastToken);
        styler.setXAxisTickMarkSpacingHint(110);
        styler.setYAxisTickMarkSpacingHint(52);
        styler.setYAxisDecimalPattern("0.0#");
        styler.setLocale(Locale.ROOT);
        styler.setxAxisTickLabelsFormattingFunction(HumanNumbers::compact);
        return chart;
    }

    /** Draws the charts below each other, so that no display and no encoder of the library is needed. */
    private static void save(Path png, List<XYChart> charts) throws IOException {
        int height = charts.stream().mapToInt(XYChart::getHeight).sum();
        BufferedImage image = new BufferedImage(WIDTH * DENSITY, height * DENSITY, BufferedImage.TYPE_INT_RGB);
        Graphics2D graphics = image.createGraphics();
        try {
            graphics.setRenderingHint(RenderingHints.KEY_ANTIALIASING, RenderingHints.VALUE_ANTIALIAS_ON);
            graphics.setRenderingHint(RenderingHints.KEY_TEXT_ANTIALIASING, RenderingHints.VALUE_TEXT_ANTIALIAS_ON);
            graphics.scale(DENSITY, DENSITY);
            for (XYChart chart : charts) {
                chart.paint(graphics, WIDTH, chart.getHeight());
                graphics.translate(0, chart.getHeight());
            }
        } finally {
            graphics.dispose();
        }
        Path folder = png.toAbsolutePath().getParent();
        if (folder != null) {
            Files.createDirectories(folder);
        }
        if (!ImageIO.write(image, "png", png.toFile())) {
            throw new IOException("This Java runtime has no PNG writer; " + png + " was not written");
        }
    }
}
