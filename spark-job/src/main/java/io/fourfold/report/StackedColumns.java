package io.fourfold.report;

import static io.fourfold.report.ChartJson.pixel;

import io.fourfold.metrics.HumanNumbers;
import java.util.List;
import java.util.function.DoubleFunction;

/**
 * Columns of parts that add up, as inline SVG.
 *
 * @param parts names of the parts, bottom first
 * @param headings first line of each column's tooltip
 * @param labels what stands below each column, shown where there is room
 * @param values [column][part], not negative
 */
record StackedColumns(
        int width, int height, List<String> parts, List<String> headings, List<String> labels, double[][] values) {
    /** Colors of the style sheet; parts beyond share the last. */
    private static final int COLORS = 6;

    private static final int LEFT = 58;
    private static final int RIGHT = 18;
    private static final int TOP = 14;
    private static final int BOTTOM = 40;
    private static final double WIDEST_COLUMN = 48;

    String legend(List<String> notes) {
        StringBuilder html = new StringBuilder();
        for (int part = 0; part < parts.size(); part++) {
            html.append("<span class=\"key\"><i class=\"square b")
                    .append(color(part))
                    .append("\"></i>");
            html.append(Html.escape(parts.get(part))).append(" <b>").append(Html.escape(notes.get(part)));
            html.append("</b></span>");
        }
        return html.toString();
    }

    static int color(int part) {
        return Math.min(part + 1, COLORS);
    }

    /** The SVG element; {@code xName} names the axis. */
    String svg(String xName) {
        double highest = 0;
        for (double[] column : values) {
            highest = Math.max(highest, sum(column));
        }
        int bottom = height - BOTTOM;
        Scale yScale = Scale.linear(0, highest == 0 ? 1 : highest * 1.05, bottom, TOP);
        double slot = (double) (width - LEFT - RIGHT) / values.length;
        double gap = Math.min(3, slot * 0.15);
        double column = Math.min(WIDEST_COLUMN, slot - gap);
        double[] centers = new double[values.length];
        for (int i = 0; i < centers.length; i++) {
            centers[i] = LEFT + (i + 0.5) * slot;
        }

        StringBuilder svg = new StringBuilder(8192);
        svg.append("<svg class=\"chart\" viewBox=\"0 0 ")
                .append(width)
                .append(' ')
                .append(height);
        svg.append("\" role=\"img\" aria-label=\"Parts of a step\"")
                .append(tooltips(centers, bottom))
                .append('>');
        int ticks = Math.max(3, (bottom - TOP) / 44);
        DoubleFunction<String> tickLabels = TickLabels.of(yScale, ticks);
        for (double tick : yScale.ticks(ticks)) {
            String y = pixel(yScale.pixel(tick));
            svg.append("<path class=\"rule\" d=\"M")
                    .append(LEFT)
                    .append(' ')
                    .append(y)
                    .append('H');
            svg.append(width - RIGHT).append("\"/>");
            text(svg, "tick", LEFT - 8, yScale.pixel(tick) + 4, "end", tickLabels.apply(tick));
        }
        for (int i = 0; i < values.length; i++) {
            drawColumn(svg, values[i], centers[i] - column / 2, column, yScale);
        }
        svg.append("<path class=\"axis\" d=\"M")
                .append(LEFT)
                .append(' ')
                .append(bottom)
                .append('H');
        svg.append(width - RIGHT).append("\"/>");
        int every = Math.max(1, (int) Math.ceil(70 / slot));
        for (int i = 0; i < labels.size(); i += every) {
            text(svg, "tick", centers[i], bottom + 17, "middle", labels.get(i));
        }
        text(svg, "axisname", width - RIGHT, height - 5, "end", xName);
        return svg.append("</svg>").toString();
    }

    private static void drawColumn(StringBuilder svg, double[] column, double left, double width, Scale yScale) {
        double below = 0;
        for (int part = 0; part < column.length; part++) {
            double top = yScale.pixel(below + column[part]);
            double bottom = yScale.pixel(below);
            if (bottom - top >= 0.05) {
                svg.append("<rect class=\"f")
                        .append(color(part))
                        .append("\" x=\"")
                        .append(pixel(left));
                svg.append("\" y=\"").append(pixel(top)).append("\" width=\"").append(pixel(width));
                svg.append("\" height=\"").append(pixel(bottom - top)).append("\"/>");
            }
            below += column[part];
        }
    }

    private String tooltips(double[] centers, int bottom) {
        return ChartJson.attribute("chart", json -> {
            json.writeNumberField("top", TOP);
            json.writeNumberField("bottom", bottom);
            json.writeBooleanField("dots", false);
            ChartJson.strings(json, "heads", headings);
            ChartJson.pixels(json, "x", centers);
            json.writeArrayFieldStart("series");
            for (int part = parts.size() - 1; part >= 0; part--) {
                json.writeStartObject();
                json.writeStringField("name", parts.get(part));
                json.writeNumberField("color", color(part));
                ChartJson.pixels(json, "x", centers);
                json.writeArrayFieldStart("text");
                for (double[] column : values) {
                    json.writeString(HumanNumbers.duration(column[part]));
                }
                json.writeEndArray();
                json.writeEndObject();
            }
            json.writeEndArray();
        });
    }

    private static double sum(double[] column) {
        double sum = 0;
        for (double part : column) {
            sum += part;
        }
        return sum;
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
}
