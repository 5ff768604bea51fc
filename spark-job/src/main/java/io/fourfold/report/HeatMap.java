package io.fourfold.report;

import static io.fourfold.report.ChartJson.pixel;

import java.awt.image.BufferedImage;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.util.Base64;
import java.util.List;
import java.util.Locale;
import java.util.function.DoubleFunction;
import javax.imageio.ImageIO;
import javax.imageio.stream.MemoryCacheImageOutputStream;

/**
 * A heat map as inline SVG around a small inline PNG, one pixel a cell. Colors are translucent, so that they go with a
 * light and a dark page alike.
 *
 * @param rowName what a tooltip puts before a row's label
 * @param rows label of each row, top first
 * @param columns tooltip heading of each column
 * @param values [row][column]; NaN = no value
 */
record HeatMap(String rowName, List<String> rows, List<String> columns, double[][] values, Palette palette) {
    /** Colors for values. */
    sealed interface Palette {
        /** ARGB. */
        int color(double value);

        /** From nothing to a full color at {@code top}. */
        record Sequential(double top) implements Palette {
            @Override
            public int color(double value) {
                double share = Math.min(1, Math.max(0, value / top));
                double opacity = value <= 0 ? 0 : 0.06 + 0.9 * Math.pow(share, 0.75);
                return argb(opacity, SEQUENTIAL);
            }
        }

        /** Ratios: blue below 1, red above, full colors at 1/limit and limit. */
        record Ratio(double limit) implements Palette {
            @Override
            public int color(double value) {
                if (value <= 0) {
                    return argb(0.95, BELOW);
                }
                double share = Math.max(-1, Math.min(1, Math.log(value) / Math.log(limit)));
                return argb(0.95 * Math.pow(Math.abs(share), 0.85), share < 0 ? BELOW : ABOVE);
            }
        }
    }

    static final int SEQUENTIAL = 0x8b45e0;
    static final int BELOW = 0x2f74e0;
    static final int ABOVE = 0xe0502f;

    private static int argb(double opacity, int rgb) {
        return (int) Math.round(255 * opacity) << 24 | rgb;
    }

    /** rgba() for the style of a legend. */
    static String css(int argb) {
        return String.format(
                Locale.ROOT,
                "rgba(%d,%d,%d,%.2f)",
                argb >> 16 & 255,
                argb >> 8 & 255,
                argb & 255,
                (argb >>> 24) / 255.0);
    }

    /** A color bar with a label at both ends; {@code logarithmic} for ratios. */
    static String legend(Palette palette, double low, double high, boolean logarithmic, String left, String right) {
        StringBuilder html = new StringBuilder("<span class=\"key\">").append(Html.escape(left));
        html.append(" <i class=\"ramp\" style=\"background:linear-gradient(90deg");
        for (int i = 0; i <= 16; i++) {
            double share = i / 16.0;
            double value = logarithmic ? low * Math.pow(high / low, share) : low + share * (high - low);
            html.append(',').append(css(palette.color(value)));
        }
        return html.append(")\"></i> ")
                .append(Html.escape(right))
                .append("</span>")
                .toString();
    }

    /**
     * The SVG element.
     *
     * @param labelWidth pixels for the row labels; 0 shows the first and the last label inside a narrow margin
     * @param ticks what stands below: a short name per column, shown where it fits, or a pair for the two ends
     * @param plotHeight height of the cells together
     */
    String svg(int width, int labelWidth, int plotHeight, List<String> ticks, DoubleFunction<String> valueLabel) {
        int left = labelWidth == 0 ? 34 : labelWidth;
        int plotWidth = width - left - 8;
        int height = plotHeight + 30;
        StringBuilder svg = new StringBuilder(4096);
        svg.append("<svg class=\"heat\" viewBox=\"0 0 ")
                .append(width)
                .append(' ')
                .append(height);
        svg.append("\" role=\"img\" aria-label=\"heat map\"");
        svg.append(tooltips(left, 4, plotWidth, plotHeight, valueLabel)).append('>');
        svg.append("<rect class=\"frame\" x=\"")
                .append(left)
                .append("\" y=\"4\" width=\"")
                .append(plotWidth);
        svg.append("\" height=\"").append(plotHeight).append("\"/>");
        svg.append("<image x=\"")
                .append(left)
                .append("\" y=\"4\" width=\"")
                .append(plotWidth)
                .append("\" height=\"");
        svg.append(plotHeight).append("\" preserveAspectRatio=\"none\" href=\"data:image/png;base64,");
        svg.append(Base64.getEncoder().encodeToString(png())).append("\"/>");
        double rowHeight = (double) plotHeight / rows.size();
        separators(svg, left, plotWidth, rowHeight);
        rowLabels(svg, left, labelWidth, rowHeight);
        columnLabels(svg, left, plotWidth, plotHeight + 20, ticks);
        return svg.append("</svg>").toString();
    }

    private void separators(StringBuilder svg, int left, int plotWidth, double rowHeight) {
        if (rowHeight < 8) {
            return;
        }
        for (int row = 1; row < rows.size(); row++) {
            svg.append("<path class=\"cut\" d=\"M").append(left).append(' ').append(pixel(4 + row * rowHeight));
            svg.append('h').append(plotWidth).append("\"/>");
        }
        double columnWidth = (double) plotWidth / columns.size();
        for (int column = 1; columnWidth >= 12 && column < columns.size(); column++) {
            svg.append("<path class=\"cut\" d=\"M")
                    .append(pixel(left + column * columnWidth))
                    .append(" 4V");
            svg.append(pixel(4 + rowHeight * rows.size())).append("\"/>");
        }
    }

    private void columnLabels(StringBuilder svg, int left, int plotWidth, int base, List<String> ticks) {
        double columnWidth = (double) plotWidth / columns.size();
        if (ticks.size() != columns.size()) {
            text(svg, left, base, "start", ticks.get(0));
            text(svg, left + plotWidth, base, "end", ticks.get(ticks.size() - 1));
            return;
        }
        for (int column = 0; column < ticks.size(); column += Math.max(1, (int) Math.ceil(50 / columnWidth))) {
            text(svg, left + (column + 0.5) * columnWidth, base, "middle", ticks.get(column));
        }
    }

    private void rowLabels(StringBuilder svg, int left, int labelWidth, double rowHeight) {
        for (int row = 0; row < rows.size(); row++) {
            boolean edge = row == 0 || row == rows.size() - 1;
            if (labelWidth > 0 ? rowHeight >= 9 || edge : edge) {
                text(svg, left - 7, 4 + (row + 0.5) * rowHeight + 4, "end", rows.get(row));
            }
        }
    }

    private byte[] png() {
        BufferedImage image = new BufferedImage(columns.size(), rows.size(), BufferedImage.TYPE_INT_ARGB);
        for (int row = 0; row < rows.size(); row++) {
            for (int column = 0; column < columns.size(); column++) {
                double value = values[row][column];
                image.setRGB(column, row, Double.isNaN(value) ? 0 : palette.color(value));
            }
        }
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        // In memory: ImageIO's default is a file in the temporary folder.
        try (MemoryCacheImageOutputStream out = new MemoryCacheImageOutputStream(bytes)) {
            ImageIO.write(image, "png", out);
        } catch (IOException e) {
            throw new IllegalStateException("A heat map could not be written to memory", e);
        }
        return bytes.toByteArray();
    }

    private String tooltips(int left, int top, int plotWidth, int plotHeight, DoubleFunction<String> valueLabel) {
        return ChartJson.attribute("heat", json -> {
            json.writeNumberField("left", left);
            json.writeNumberField("top", top);
            json.writeNumberField("width", plotWidth);
            json.writeNumberField("height", plotHeight);
            json.writeStringField("rowName", rowName);
            ChartJson.strings(json, "rows", rows);
            ChartJson.strings(json, "columns", columns);
            json.writeArrayFieldStart("text");
            for (double[] row : values) {
                json.writeStartArray();
                for (double value : row) {
                    json.writeString(Double.isNaN(value) ? "" : valueLabel.apply(value));
                }
                json.writeEndArray();
            }
            json.writeEndArray();
        });
    }

    private static void text(StringBuilder svg, double x, double y, String anchor, String text) {
        svg.append("<text class=\"tick\" x=\"")
                .append(pixel(x))
                .append("\" y=\"")
                .append(pixel(y));
        svg.append("\" text-anchor=\"")
                .append(anchor)
                .append("\">")
                .append(Html.escape(text))
                .append("</text>");
    }
}
