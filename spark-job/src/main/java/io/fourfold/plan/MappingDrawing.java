package io.fourfold.plan;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.ModelConfig;
import io.fourfold.parallel.Axis;
import io.fourfold.parallel.ParallelMapping;
import io.fourfold.parallel.Stage;
import io.fourfold.parallel.StageLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.stream.Collectors;

/**
 * Draws a folded mapping as SVG: for every pipeline rank the same ranks twice, on the attention grid and on the MoE grid,
 * with the groups of every axis. Colours are hosts.
 */
public final class MappingDrawing {
    private static final String[] HOSTS = {
        "#cfe2ff", "#ffe2b8", "#d3f0d0", "#f5d0de", "#e0d6f7", "#fbf3b5", "#cdeff0", "#e5e0da"
    };
    private static final int CELL_WIDTH = 58;
    private static final int CELL_HEIGHT = 44;
    private static final int PADDING = 12;
    private static final int LINE = 17;
    private static final int MARGIN = 24;
    private static final int BETWEEN = 90;
    private static final int GROUPS_SHOWN = 4;

    private final FourfoldConfig config;
    private final ParallelMapping mapping;
    private final int ranksPerHost;
    private final Panel attention;
    private final Panel moe;
    private final StringBuilder out = new StringBuilder();

    /**
     * One grid.
     *
     * @param rows axis whose groups are columns
     * @param columns axis whose groups are rows
     * @param boxes axis whose groups have one member in each box
     */
    private record Panel(String title, Axis columns, Axis rows, Axis boxes, ParallelMapping mapping) {
        int boxWidth() {
            return mapping.size(columns) * CELL_WIDTH + 2 * PADDING;
        }

        int boxHeight() {
            return mapping.size(rows) * CELL_HEIGHT + 2 * PADDING + LINE;
        }

        int perRow() {
            return Math.max(1, Math.min(mapping.size(boxes), 8 * CELL_WIDTH / boxWidth()));
        }

        int width() {
            return Math.max(6 * CELL_WIDTH, perRow() * (boxWidth() + PADDING) - PADDING);
        }

        int height() {
            int boxRows = (mapping.size(boxes) + perRow() - 1) / perRow();
            return 2 * LINE + boxRows * (boxHeight() + PADDING) + 3 * LINE + PADDING;
        }
    }

    private MappingDrawing(FourfoldConfig config, int ranksPerHost) {
        this.config = config;
        this.mapping = ParallelMapping.of(config.parallel());
        this.ranksPerHost = ranksPerHost;
        this.attention = new Panel("Attention and dense layers", Axis.TP, Axis.CP, Axis.DP, mapping);
        this.moe = mapping.expertTensor() > mapping.expert()
                ? new Panel("Experts", Axis.ETP, Axis.EP, Axis.EDP, mapping)
                : new Panel("Experts", Axis.EP, Axis.ETP, Axis.EDP, mapping);
    }

    /**
     * @param ranksPerHost consecutive ranks on one host
     */
    public static String svg(FourfoldConfig config, int ranksPerHost) {
        return new MappingDrawing(config, ranksPerHost).draw();
    }

    private String draw() {
        int stageHeight = Math.max(attention.height(), moe.height()) + 2 * LINE;
        int width = 2 * MARGIN + attention.width() + BETWEEN + moe.width();
        int top = MARGIN + 3 * LINE;
        int height = top + mapping.pipeline() * (stageHeight + 2 * MARGIN) + LINE;
        out.append("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\""
                .formatted(width, height, width, height));
        out.append(" font-family=\"Helvetica, Arial, sans-serif\" font-size=\"13\" fill=\"#1c2733\">\n");
        out.append("<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n");
        text(MARGIN, MARGIN + 6, mapping.toString(), "font-size=\"18\" font-weight=\"bold\"");
        text(
                MARGIN,
                MARGIN + 6 + 20,
                "Every number is a rank. The same ranks form two grids; going from one to the other moves no data."
                        + (hosts() > 1 ? " Colours are hosts of " + ranksPerHost + " ranks." : ""),
                "fill=\"#5a6875\"");
        for (int stage = 0; stage < mapping.pipeline(); stage++) {
            stage(stage, top + stage * (stageHeight + 2 * MARGIN), width, stageHeight);
        }
        return out.append("</svg>\n").toString();
    }

    private int hosts() {
        return (mapping.worldSize() + ranksPerHost - 1) / ranksPerHost;
    }

    private void stage(int stage, int y, int width, int height) {
        rectangle(MARGIN / 2, y, width - MARGIN, height, "none", "#8896a5", 10);
        text(MARGIN, y + LINE + 2, title(stage), "font-weight=\"bold\"");
        int firstRank = mapping.group(Axis.STAGE, stage * mapping.worldSize() / mapping.pipeline())
                .get(0);
        int moeX = MARGIN + attention.width() + BETWEEN;
        panel(attention, MARGIN, y + 2 * LINE, firstRank);
        panel(moe, moeX, y + 2 * LINE, firstRank);
        int arrowX = MARGIN + attention.width() + BETWEEN / 2;
        centred(arrowX, y + height / 2 - 10, "&#8644;", "font-size=\"30\" fill=\"#5a6875\"");
        centred(arrowX, y + height / 2 + 10, "same ranks", "fill=\"#5a6875\" font-size=\"12\"");
        if (stage + 1 < mapping.pipeline()) {
            centred(
                    width / 2,
                    y + height + MARGIN + 5,
                    "&#8595; PP: activations &#160; &#8593; their gradients &#160; PP groups "
                            + groups(Axis.PP, 0, mapping.worldSize() / mapping.pipeline()),
                    "fill=\"#5a6875\"");
        }
    }

    private String title(int pipelineRank) {
        ModelConfig model = config.model();
        List<Stage> stages = StageLayout.of(model, config.parallel()).of(pipelineRank);
        String parts = stages.stream().map(MappingDrawing::describe).collect(Collectors.joining("; "));
        return mapping.pipeline() == 1 ? "All of " + model.name() : "Pipeline rank " + pipelineRank + ": " + parts;
    }

    private static String describe(Stage stage) {
        List<String> parts = new ArrayList<>();
        if (stage.first()) {
            parts.add("embedding");
        }
        if (stage.layers() > 0) {
            parts.add(
                    stage.layers() == 1
                            ? "block " + stage.firstLayer()
                            : "blocks " + stage.firstLayer() + "-" + (stage.endLayer() - 1));
        }
        if (stage.last()) {
            parts.add("head");
        }
        return String.join(", ", parts);
    }

    private void panel(Panel panel, int x, int y, int firstRank) {
        text(x, y + LINE - 2, panel.title() + ": " + degrees(panel), "fill=\"#34495e\"");
        int boxes = mapping.size(panel.boxes());
        List<Integer> ranks = mapping.group(Axis.STAGE, firstRank);
        for (int box = 0; box < boxes; box++) {
            int boxX = x + box % panel.perRow() * (panel.boxWidth() + PADDING);
            int boxY = y + 2 * LINE + box / panel.perRow() * (panel.boxHeight() + PADDING) - PADDING;
            rectangle(boxX, boxY, panel.boxWidth(), panel.boxHeight(), "#f6f8fa", "#8896a5", 8);
            text(boxX + PADDING, boxY + LINE - 1, name(panel.boxes()) + " " + box, "font-size=\"12\" fill=\"#5a6875\"");
            for (int rank : ranks) {
                if (mapping.coordinate(panel.boxes(), rank) == box) {
                    cell(panel, rank, boxX + PADDING, boxY + LINE + PADDING / 2);
                }
            }
        }
        int below = y + panel.height() - 3 * LINE;
        for (Axis axis : List.of(panel.columns(), panel.rows(), panel.boxes())) {
            text(x, below, name(axis) + " groups: " + groups(axis, firstRank, ranks.size()), "font-size=\"12\"");
            below += LINE;
        }
    }

    private void cell(Panel panel, int rank, int x, int y) {
        int cellX = x + mapping.coordinate(panel.columns(), rank) * CELL_WIDTH + 3;
        int cellY = y + mapping.coordinate(panel.rows(), rank) * CELL_HEIGHT + 3;
        String colour = HOSTS[rank / ranksPerHost % HOSTS.length];
        rectangle(cellX, cellY, CELL_WIDTH - 6, CELL_HEIGHT - 6, colour, "#5a6875", 5);
        int middle = cellX + (CELL_WIDTH - 6) / 2;
        centred(middle, cellY + 17, Integer.toString(rank), "font-weight=\"bold\"");
        centred(middle, cellY + 31, place(panel, rank), "font-size=\"10\" fill=\"#34495e\"");
    }

    /** Coordinates within the box, for example {@code TP0 CP1}. */
    private String place(Panel panel, int rank) {
        List<String> parts = new ArrayList<>();
        for (Axis axis : List.of(panel.columns(), panel.rows())) {
            if (mapping.size(axis) > 1) {
                parts.add(name(axis) + mapping.coordinate(axis, rank));
            }
        }
        return String.join(" ", parts);
    }

    private String degrees(Panel panel) {
        return List.of(panel.columns(), panel.rows(), panel.boxes()).stream()
                .map(axis -> name(axis) + mapping.size(axis))
                .collect(Collectors.joining(" x "));
    }

    /** The groups of ranks {@code [first, first + count)}. */
    private String groups(Axis axis, int first, int count) {
        if (mapping.size(axis) == 1) {
            return "one rank each";
        }
        List<List<Integer>> groups = mapping.groups(axis).stream()
                .filter(group -> group.get(0) >= first && group.get(0) < first + count)
                .toList();
        String shown = groups.stream()
                .limit(GROUPS_SHOWN)
                .map(group -> group.stream().map(String::valueOf).collect(Collectors.joining(",", "(", ")")))
                .collect(Collectors.joining(" "));
        return groups.size() > GROUPS_SHOWN ? shown + " ..." : shown;
    }

    private static String name(Axis axis) {
        return axis.label().toUpperCase(Locale.ROOT);
    }

    private void rectangle(int x, int y, int width, int height, String fill, String stroke, int radius) {
        out.append("<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"%d\" fill=\"%s\" stroke=\"%s\"/>\n"
                .formatted(x, y, width, height, radius, fill, stroke));
    }

    private void text(int x, int y, String text, String style) {
        String escaped = text.replace("&", "&amp;").replace("<", "&lt;");
        out.append("<text x=\"%d\" y=\"%d\" %s>%s</text>\n".formatted(x, y, style, escaped));
    }

    /**
     * @param markup text without characters that need escaping
     */
    private void centred(int x, int y, String markup, String style) {
        out.append("<text x=\"%d\" y=\"%d\" text-anchor=\"middle\" %s>%s</text>\n".formatted(x, y, style, markup));
    }
}
