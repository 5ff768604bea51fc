package io.fourfold.report;

import static io.fourfold.report.ChartJson.pixel;

import com.fasterxml.jackson.core.JsonGenerator;
import io.fourfold.metrics.HumanNumbers;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.function.DoubleFunction;

/** Curves over one axis as inline SVG; colors come from the page's style sheet (classes s1 to s6). */
final class LineChart {
    private static final int LEFT = 58;
    private static final int RIGHT = 18;
    private static final int TOP = 14;
    private static final int BOTTOM = 40;
    private static final int POINTS = 500;
    private static final int LABELLED_MARKERS = 4;

    /** How a series is drawn. */
    enum Look {
        LINE,
        /** Thin and pale: the raw values behind a smoothed line. */
        FAINT,
        /** Dots joined by a thin line. */
        DOTS
    }

    /** One curve; {@code color} is 1 to 6, {@code whole} when no point was left out. */
    private record Series(String name, String caption, int color, Look look, Curve curve, boolean whole) {}

    private record Marker(double x, String label, boolean strong) {}

    private final int width;
    private final int height;
    private final String xName;
    private final DoubleFunction<String> heading;
    private final List<Series> series = new ArrayList<>();
    private final List<Marker> markers = new ArrayList<>();
    private DoubleFunction<String> valueLabel = HumanNumbers::measure;
    private boolean logarithmic;
    private boolean fromZero;

    /**
     * An empty chart.
     *
     * @param heading the tooltip's first line for a position on the x axis
     */
    LineChart(int width, int height, String xName, DoubleFunction<String> heading) {
        this.width = width;
        this.height = height;
        this.xName = xName;
        this.heading = heading;
    }

    /** Adds a curve; later ones are drawn above. Empty curves are ignored. */
    LineChart add(String name, int color, Look look, Curve curve) {
        return add(name, name, color, look, curve);
    }

    private LineChart add(String name, String caption, int color, Look look, Curve curve) {
        if (!curve.isEmpty()) {
            Curve shown = look == Look.FAINT ? curve.envelope(2 * POINTS) : curve.thinned(POINTS);
            series.add(new Series(name, caption, color, look, shown, shown.size() == curve.size()));
        }
        return this;
    }

    /** Adds a measured curve: pale raw values with a smoothed line above, or just the line when it is short. */
    LineChart addNoisy(String name, int color, Curve curve) {
        if (!curve.worthSmoothing()) {
            return add(name, color, Look.LINE, curve);
        }
        add(name, color, Look.FAINT, curve);
        return add(name + ", smoothed", name, color, Look.LINE, curve.smoothed());
    }

    /** A vertical line with a label (strong), or a small mark on the x axis. */
    LineChart mark(double x, String label, boolean strong) {
        markers.add(new Marker(x, label, strong));
        return this;
    }

    /** How the tooltip writes values. */
    LineChart values(DoubleFunction<String> label) {
        this.valueLabel = label;
        return this;
    }

    /** Let the y axis start at 0. */
    LineChart fromZero() {
        this.fromZero = true;
        return this;
    }

    /** Use a logarithmic y axis if the values are positive and span a factor of 30 or more. */
    LineChart logarithmicIfWide() {
        this.logarithmic = smallest() > 0 && largest() / smallest() >= 30;
        return this;
    }

    boolean isEmpty() {
        return series.isEmpty();
    }

    /** Legend entries in the order of drawing; nothing where one curve needs no telling apart. */
    String legend() {
        List<Series> shown =
                series.stream().filter(entry -> entry.look() != Look.FAINT).toList();
        StringBuilder html = new StringBuilder();
        for (Series entry : shown.size() > 1 ? shown : List.<Series>of()) {
            html.append("<span class=\"key\"><i class=\"").append(entry.look() == Look.DOTS ? "dot" : "bar");
            html.append(" b").append(entry.color()).append("\"></i>").append(Html.escape(entry.caption()));
            html.append("</span>");
        }
        return html.toString();
    }

    /** The SVG element. */
    String svg() {
        Scale xScale = xScale();
        Scale yScale = yScale();
        StringBuilder svg = new StringBuilder(8192);
        svg.append("<svg class=\"chart\" viewBox=\"0 0 ")
                .append(width)
                .append(' ')
                .append(height);
        svg.append("\" role=\"img\" aria-label=\"")
                .append(Html.escape(series.get(0).name()))
                .append('"');
        svg.append(tooltips(xScale, yScale)).append(">");
        axes(svg, xScale, yScale);
        for (Series entry : series) {
            draw(svg, entry, xScale, yScale);
        }
        return svg.append("</svg>").toString();
    }

    private Scale xScale() {
        double low = series.stream().mapToDouble(s -> s.curve().x()[0]).min().orElseThrow();
        double high = series.stream()
                .mapToDouble(s -> s.curve().x()[s.curve().size() - 1])
                .max()
                .orElseThrow();
        // Steps and tokens count from 0; a run that begins near it is shown from there.
        boolean single = low == high;
        boolean fromStart = low > 0 && low <= 0.05 * high || single;
        return Scale.linear(fromStart ? 0 : low, single ? 2 * high : high, LEFT, width - RIGHT);
    }

    private Scale yScale() {
        double low = smallest();
        double high = largest();
        int bottom = height - BOTTOM;
        if (logarithmic) {
            return Scale.logarithmic(low / 1.1, high * 1.1, bottom, TOP);
        }
        if (fromZero && low >= 0) {
            return Scale.linear(0, high == 0 ? 1 : high * 1.08, bottom, TOP);
        }
        double margin = (high - low) * 0.06;
        return Scale.linear(low - margin, high + margin, bottom, TOP);
    }

    private double smallest() {
        return series.stream().mapToDouble(s -> s.curve().smallest()).min().orElse(Double.NaN);
    }

    private double largest() {
        return series.stream().mapToDouble(s -> s.curve().largest()).max().orElse(Double.NaN);
    }

    private void axes(StringBuilder svg, Scale xScale, Scale yScale) {
        int bottom = height - BOTTOM;
        int yCount = Math.max(3, (bottom - TOP) / 44);
        DoubleFunction<String> yLabels = TickLabels.of(yScale, yCount);
        for (double tick : yScale.ticks(yCount)) {
            String y = pixel(yScale.pixel(tick));
            svg.append("<path class=\"rule\" d=\"M")
                    .append(LEFT)
                    .append(' ')
                    .append(y)
                    .append('H');
            svg.append(width - RIGHT).append("\"/>");
            text(svg, "tick", LEFT - 8, yScale.pixel(tick) + 4, "end", yLabels.apply(tick));
        }
        svg.append("<path class=\"axis\" d=\"M")
                .append(LEFT)
                .append(' ')
                .append(bottom)
                .append('H');
        svg.append(width - RIGHT).append("\"/>");
        int xCount = Math.max(3, (width - LEFT - RIGHT) / 110);
        DoubleFunction<String> xLabels = TickLabels.of(xScale, xCount);
        for (double tick : xScale.ticks(xCount)) {
            // Steps and tokens are whole numbers.
            if (Math.abs(tick - Math.rint(tick)) < 1e-9) {
                text(svg, "tick", xScale.pixel(tick), bottom + 17, "middle", wholeLabel(xLabels, tick));
            }
        }
        text(svg, "axisname", width - RIGHT, height - 5, "end", xName);
        markers(svg, xScale, bottom);
    }

    private static String wholeLabel(DoubleFunction<String> labels, double tick) {
        return Math.abs(tick) < 10_000 ? HumanNumbers.grouped(Math.round(tick)) : labels.apply(tick);
    }

    private void markers(StringBuilder svg, Scale xScale, int bottom) {
        long strong = markers.stream().filter(Marker::strong).count();
        for (Marker marker : markers) {
            if (marker.x() < xScale.low() || marker.x() > xScale.high()) {
                continue;
            }
            double x = xScale.pixel(marker.x());
            if (marker.strong()) {
                svg.append("<path class=\"marker\" d=\"M")
                        .append(pixel(x))
                        .append(' ')
                        .append(TOP);
                svg.append('V').append(bottom).append("\"/>");
                if (strong <= LABELLED_MARKERS) {
                    boolean right = x < width * 0.8;
                    text(svg, "note", x + (right ? 5 : -5), TOP + 10, right ? "start" : "end", marker.label());
                }
            } else {
                svg.append("<path class=\"mark\" d=\"M")
                        .append(pixel(x - 4))
                        .append(' ')
                        .append(bottom);
                svg.append("l4 -7l4 7z\"><title>")
                        .append(Html.escape(marker.label()))
                        .append("</title></path>");
            }
        }
    }

    private static void text(StringBuilder svg, String style, double x, double y, String anchor, String text) {
        svg.append("<text class=\"")
                .append(style)
                .append("\" x=\"")
                .append(pixel(x))
                .append("\" y=\"");
        svg.append(pixel(y)).append("\" text-anchor=\"").append(anchor).append("\">");
        svg.append(Html.escape(text)).append("</text>");
    }

    private static void draw(StringBuilder svg, Series entry, Scale xScale, Scale yScale) {
        Curve curve = entry.curve();
        String look = entry.look() == Look.FAINT ? "line faint" : entry.look() == Look.DOTS ? "line thin" : "line";
        if (curve.size() > 1) {
            svg.append("<path class=\"")
                    .append(look)
                    .append(" s")
                    .append(entry.color())
                    .append("\" d=\"");
            for (int i = 0; i < curve.size(); i++) {
                svg.append(i == 0 ? 'M' : 'L')
                        .append(pixel(xScale.pixel(curve.x()[i])))
                        .append(' ');
                svg.append(pixel(yScale.pixel(curve.y()[i])));
            }
            svg.append("\"/>");
        }
        boolean dots = entry.look() == Look.DOTS && curve.size() <= 60 || curve.size() == 1;
        for (int i = 0; dots && i < curve.size(); i++) {
            svg.append("<circle class=\"dot f").append(entry.color()).append("\" r=\"4\" cx=\"");
            svg.append(pixel(xScale.pixel(curve.x()[i]))).append("\" cy=\"");
            svg.append(pixel(yScale.pixel(curve.y()[i]))).append("\"/>");
        }
    }

    private String tooltips(Scale xScale, Scale yScale) {
        return ChartJson.attribute("chart", json -> {
            json.writeNumberField("top", TOP);
            json.writeNumberField("bottom", height - BOTTOM);
            json.writeBooleanField("dots", true);
            Curve guide = guide().curve();
            json.writeArrayFieldStart("heads");
            for (double x : guide.x()) {
                json.writeString(heading.apply(x));
            }
            json.writeEndArray();
            ChartJson.pixels(json, "x", pixels(guide.x(), xScale));
            json.writeArrayFieldStart("series");
            for (Series entry : series) {
                if (entry.look() != Look.FAINT || entry.whole()) {
                    tooltip(json, entry, xScale, yScale);
                }
            }
            json.writeEndArray();
        });
    }

    /** The series whose points a tooltip snaps to: the one drawn with the most points, faint ones aside. */
    private Series guide() {
        Series guide = series.get(0);
        for (Series entry : series) {
            boolean better = guide.look() == Look.FAINT
                    || entry.curve().size() > guide.curve().size();
            if (entry.look() != Look.FAINT && better) {
                guide = entry;
            }
        }
        return guide;
    }

    private void tooltip(JsonGenerator json, Series entry, Scale xScale, Scale yScale) throws IOException {
        Curve curve = entry.curve();
        json.writeStartObject();
        json.writeStringField("name", entry.name());
        json.writeNumberField("color", entry.color());
        ChartJson.pixels(json, "x", pixels(curve.x(), xScale));
        ChartJson.pixels(json, "y", pixels(curve.y(), yScale));
        json.writeArrayFieldStart("text");
        for (double y : curve.y()) {
            json.writeString(valueLabel.apply(y));
        }
        json.writeEndArray();
        json.writeEndObject();
    }

    private static double[] pixels(double[] values, Scale scale) {
        double[] pixels = new double[values.length];
        for (int i = 0; i < values.length; i++) {
            pixels[i] = scale.pixel(values[i]);
        }
        return pixels;
    }
}
