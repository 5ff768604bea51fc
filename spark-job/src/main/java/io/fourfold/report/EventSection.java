package io.fourfold.report;

import io.fourfold.metrics.EventKind;
import io.fourfold.metrics.HumanNumbers;
import io.fourfold.metrics.RunEvent;
import io.fourfold.metrics.RunHistory;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.List;
import java.util.Locale;

/** What happened, newest last. */
final class EventSection {
    private static final int SHOWN = 30;
    private static final int KEPT = 1000;
    static final DateTimeFormatter TIME =
            DateTimeFormatter.ofPattern("yyyy-MM-dd HH:mm:ss", Locale.ROOT).withZone(ZoneOffset.UTC);

    private EventSection() {}

    static String html(RunHistory run) {
        List<RunEvent> events = run.events();
        StringBuilder html = new StringBuilder();
        int shown = Math.min(SHOWN, events.size());
        int older = events.size() - shown;
        if (events.isEmpty()) {
            html.append(Page.note("Nothing out of the ordinary so far."));
        } else {
            int first = Math.max(0, older - KEPT);
            if (older > 0) {
                html.append(Page.fold(
                        (older - first) + " earlier events", table(events.subList(first, older), run.attempts())));
            }
            html.append(table(events.subList(older, events.size()), run.attempts()));
        }
        if (run.supersededLines() > 0) {
            html.append(Page.note(superseded(run.supersededLines())));
        }
        if (run.damagedLines() > 0) {
            html.append(Page.note(HumanNumbers.counted(run.damagedLines(), "damaged line")
                    + (run.damagedLines() == 1
                            ? " of metrics.jsonl was skipped."
                            : " of metrics.jsonl were skipped.")));
        }
        return Page.section("events", "Events", "", "<div class=\"card pad\">" + html + "</div>");
    }

    private static String superseded(int lines) {
        return lines == 1
                ? "1 step or evaluation line of an earlier attempt was replaced by a later one."
                : HumanNumbers.grouped(lines)
                        + " step and evaluation lines of earlier attempts were replaced by later ones.";
    }

    private static String table(List<RunEvent> events, int attempts) {
        StringBuilder html =
                new StringBuilder("<table class=\"events\"><thead><tr><th>time (UTC)</th><th class=\"n\">step</th>");
        html.append(attempts > 1 ? "<th class=\"n\">start</th>" : "")
                .append("<th>kind</th><th>message</th></tr></thead><tbody>");
        for (RunEvent event : events) {
            html.append("<tr><td class=\"time\">")
                    .append(TIME.format(event.time()))
                    .append("</td><td class=\"n\">");
            html.append(HumanNumbers.grouped(event.step())).append("</td>");
            if (attempts > 1) {
                html.append("<td class=\"n\">").append(event.attempt()).append("</td>");
            }
            html.append("<td>").append(badge(event.kind())).append("</td><td>");
            html.append(Html.escape(event.message())).append("</td></tr>");
        }
        return html.append("</tbody></table>").toString();
    }

    /** The kind in its color. */
    static String badge(String kind) {
        return "<span class=\"badge " + style(kind) + "\">" + Html.escape(kind.replace('_', ' ')) + "</span>";
    }

    private static String style(String kind) {
        return switch (kind) {
            case EventKind.FINISHED -> "good";
            case EventKind.FAILED, EventKind.NON_FINITE -> "bad";
            case EventKind.CHECKPOINT_FAILED, EventKind.WARNING, EventKind.STOP, EventKind.RESTART -> "warn";
            case EventKind.RESUME, EventKind.PRECISION_SWITCH -> "accent";
            default -> "idle";
        };
    }
}
