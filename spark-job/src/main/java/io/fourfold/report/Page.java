package io.fourfold.report;

/** The blocks the report is built of. */
final class Page {
    private Page() {}

    /** A part of the page with a heading; {@code lead} says what is seen, empty for nothing. */
    static String section(String id, String title, String lead, String body) {
        String intro = lead.isEmpty() ? "" : "<p class=\"lead\">" + Html.escape(lead) + "</p>";
        return "<section id=\"" + id + "\"><h2>" + Html.escape(title) + "</h2>" + intro + body + "</section>\n";
    }

    /** A titled card; {@code legend} and {@code content} are markup. */
    static String card(String title, String unit, String legend, String content, boolean wide) {
        return "<figure class=\"card" + (wide ? " wide" : "") + "\"><figcaption><h3>" + Html.escape(title)
                + "</h3><span class=\"unit\">" + Html.escape(unit) + "</span><span class=\"legend\">" + legend
                + "</span></figcaption><div class=\"plot\">" + content + "</div></figure>";
    }

    /** A chart in a card, or a note where it has nothing to show. */
    static String chart(String title, String unit, LineChart chart, boolean wide) {
        return chart.isEmpty()
                ? card(title, unit, "", note("No finite values yet."), wide)
                : card(title, unit, chart.legend(), chart.svg(), wide);
    }

    static String grid(String... cards) {
        return "<div class=\"grid\">" + String.join("", cards) + "</div>";
    }

    /** Says why something is missing. */
    static String note(String text) {
        return "<p class=\"empty\">" + Html.escape(text) + "</p>";
    }

    /** A block that opens on a click. */
    static String fold(String title, String markup) {
        return "<details><summary>" + Html.escape(title) + "</summary>" + markup + "</details>";
    }

    static String preformatted(String text) {
        return "<pre>" + Html.escape(text) + "</pre>";
    }
}
