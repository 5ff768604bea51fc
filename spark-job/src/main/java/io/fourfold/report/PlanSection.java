package io.fourfold.report;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.fourfold.metrics.HumanNumbers;
import java.util.LinkedHashSet;
import java.util.Locale;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** plan.json as nested tables. It makes no assumption about the keys, except that a name with "bytes" holds bytes. */
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
            return Page.fold("Parameters, ranks, memory and FLOPs", node("", MAPPER.readTree(plan)));
        } catch (JsonProcessingException e) {
            return Page.note("plan.json is not valid JSON: " + e.getOriginalMessage())
                    + Page.fold("Its text", Page.preformatted(plan));
        }
    }

    private static String node(String name, JsonNode node) {
        if (node.isObject()) {
            return object(node);
        }
        if (node.isArray()) {
            return array(name, node);
        }
        return "<span class=\"scalar\">" + Html.escape(scalar(name, node)) + "</span>";
    }

    private static String object(JsonNode node) {
        StringBuilder html = new StringBuilder("<table class=\"tree\"><tbody>");
        node.fields()
                .forEachRemaining(field -> html.append("<tr><th>")
                        .append(Html.escape(words(field.getKey())))
                        .append("</th><td>")
                        .append(node(field.getKey(), field.getValue()))
                        .append("</td></tr>"));
        return html.append("</tbody></table>").toString();
    }

    private static String array(String name, JsonNode array) {
        Set<String> columns = new LinkedHashSet<>();
        boolean objects = array.size() > 0;
        boolean scalars = true;
        for (JsonNode entry : array) {
            objects &= entry.isObject();
            scalars &= entry.isValueNode();
            entry.fieldNames().forEachRemaining(columns::add);
        }
        if (objects) {
            return table(array, columns);
        }
        StringBuilder html = new StringBuilder(scalars ? "<span class=\"scalar\">" : "<div>");
        int index = 0;
        for (JsonNode entry : array) {
            if (index++ >= MOST_ROWS) {
                html.append(" ... (").append(array.size()).append(" in all)");
                break;
            }
            html.append(scalars ? (index > 1 ? ", " : "") + Html.escape(scalar(name, entry)) : node(name, entry));
        }
        return html.append(scalars ? "</span>" : "</div>").toString();
    }

    private static String table(JsonNode array, Set<String> columns) {
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
                html.append(cell == null ? "" : node(column, cell)).append("</td>");
            }
            html.append("</tr>");
        }
        return html.append("</tbody></table>").toString();
    }

    private static String scalar(String name, JsonNode value) {
        boolean bytes = name.toLowerCase(Locale.ROOT).contains("bytes");
        if (value.isNumber() && bytes) {
            return HumanNumbers.bytes(value.asDouble());
        }
        boolean isName = name.equals("seed") || name.equals("rank");
        return value.isIntegralNumber() && !isName ? HumanNumbers.grouped(value.asLong()) : value.asText();
    }

    /** totalParameters and total_parameters as "total parameters". */
    private static String words(String key) {
        return key.replaceAll("([a-z0-9])([A-Z])", "$1 $2").replace('_', ' ').toLowerCase(Locale.ROOT);
    }
}
