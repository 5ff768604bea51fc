package io.fourfold.report;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.fourfold.metrics.HumanNumbers;
import java.util.LinkedHashSet;
import java.util.Locale;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** plan.json as nested tables. The only keys it knows are those whose numbers are bytes: "memory" and names with "bytes". */
final class PlanSection {
    private static final ObjectMapper MAPPER = new ObjectMapper();
    private static final int MOST_ROWS = 200;

    private PlanSection() {}

    static String html(@Nullable String plan) {
        return Page.section("plan", "Plan", "", "<div class=\"card pad\">" + body(plan) + "</div>");
    }

    private static String body(@Nullable String plan) {
        if (plan == null) {
            return Page.note("No plan.json in the run folder.");
        }
        try {
            return Page.fold("Parameters, ranks, memory and FLOPs", node("", false, MAPPER.readTree(plan)));
        } catch (JsonProcessingException e) {
            return Page.note("plan.json is not valid JSON: " + e.getOriginalMessage())
                    + Page.fold("Its text", Page.preformatted(plan));
        }
    }

    /** {@code bytes}: numbers below are bytes. */
    private static String node(String name, boolean bytes, JsonNode node) {
        boolean inBytes =
                bytes || name.equals("memory") || name.toLowerCase(Locale.ROOT).contains("bytes");
        if (node.isObject()) {
            return object(node, inBytes);
        }
        if (node.isArray()) {
            return array(name, node, inBytes);
        }
        return "<span class=\"scalar\">" + Html.escape(scalar(name, node, inBytes)) + "</span>";
    }

    private static String object(JsonNode node, boolean bytes) {
        StringBuilder html = new StringBuilder("<table class=\"tree\"><tbody>");
        node.fields()
                .forEachRemaining(field -> html.append("<tr><th>")
                        .append(Html.escape(words(field.getKey())))
                        .append("</th><td>")
                        .append(node(field.getKey(), bytes, field.getValue()))
                        .append("</td></tr>"));
        return html.append("</tbody></table>").toString();
    }

    private static String array(String name, JsonNode array, boolean bytes) {
        Set<String> columns = new LinkedHashSet<>();
        boolean objects = array.size() > 0;
        boolean scalars = true;
        for (JsonNode entry : array) {
            objects &= entry.isObject();
            scalars &= entry.isValueNode();
            entry.fieldNames().forEachRemaining(columns::add);
        }
        if (objects) {
            return table(array, columns, bytes);
        }
        StringBuilder html = new StringBuilder(scalars ? "<span class=\"scalar\">" : "<div>");
        int index = 0;
        for (JsonNode entry : array) {
            if (index++ >= MOST_ROWS) {
                html.append(" ... (").append(array.size()).append(" in all)");
                break;
            }
            if (scalars) {
                html.append(index > 1 ? ", " : "").append(Html.escape(scalar(name, entry, bytes)));
            } else {
                html.append("<div>").append(node(name, bytes, entry)).append("</div>");
            }
        }
        return html.append(scalars ? "</span>" : "</div>").toString();
    }

    private static String table(JsonNode array, Set<String> columns, boolean bytes) {
        StringBuilder html = new StringBuilder("<table><thead><tr>");
        columns.forEach(
                column -> html.append("<th>").append(Html.escape(words(column))).append("</th>"));
        html.append("</tr></thead><tbody>");
        int rows = 0;
        for (JsonNode entry : array) {
            if (rows++ == MOST_ROWS) {
                html.append("<tr><td>").append(array.size() - MOST_ROWS).append(" more rows</td></tr>");
                break;
            }
            html.append("<tr>");
            for (String column : columns) {
                JsonNode cell = entry.get(column);
                html.append(cell != null && cell.isNumber() ? "<td class=\"n\">" : "<td>");
                html.append(cell == null ? "" : node(column, bytes, cell)).append("</td>");
            }
            html.append("</tr>");
        }
        return html.append("</tbody></table>").toString();
    }

    private static String scalar(String name, JsonNode value, boolean bytes) {
        if (value.isNumber() && bytes) {
            return HumanNumbers.bytes(value.asDouble());
        }
        if (value.isNull()) {
            return "-";
        }
        boolean large = value.isFloatingPointNumber() && Math.abs(value.asDouble()) >= 1e6;
        return value.isIntegralNumber()
                ? HumanNumbers.grouped(value.asLong())
                : large ? HumanNumbers.significant(value.asDouble(), 4) : value.asText();
    }

    /** totalParameters and total_parameters as "total parameters". */
    private static String words(String key) {
        return key.replaceAll("([a-z0-9])([A-Z])", "$1 $2").replace('_', ' ').toLowerCase(Locale.ROOT);
    }
}
