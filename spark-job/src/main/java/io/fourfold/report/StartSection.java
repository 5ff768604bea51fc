package io.fourfold.report;

import io.fourfold.metrics.EventKind;
import io.fourfold.metrics.HumanNumbers;
import io.fourfold.metrics.RankBeat;
import io.fourfold.metrics.RunEvent;
import io.fourfold.metrics.RunHistory;
import io.fourfold.metrics.RunStart;
import java.time.Duration;
import java.time.Instant;
import java.util.Comparator;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** The starts of a run and how each ended, and where the ranks were when they were last heard of. */
final class StartSection {
    private static final int RANKS_SHOWN = 32;
    private static final int STARTS_SHOWN = 20;
    /** A rank that was not heard of for this long is marked; it sends every second. */
    private static final Duration SILENT = Duration.ofSeconds(10);

    private StartSection() {}

    /**
     * @param now what ages are counted to; null when unknown
     */
    static String html(RunHistory run, @Nullable Instant now) {
        String lead = run.ranks().isEmpty()
                ? ""
                : "Where each rank was when it was last heard of; ranks behind the others come first.";
        String body = starts(run) + (run.ranks().isEmpty() ? "" : ranks(run.ranks(), now));
        return Page.section("starts", "Starts and ranks", lead, "<div class=\"card pad\">" + body + "</div>");
    }

    private static String starts(RunHistory run) {
        List<RunStart> starts = run.starts();
        if (starts.isEmpty()) {
            return Page.note("The run has not started yet.");
        }
        StringBuilder html = new StringBuilder("<table class=\"events\"><thead><tr><th class=\"n\">start</th>"
                + "<th>time (UTC)</th><th class=\"n\">first step</th><th>end</th><th></th></tr></thead><tbody>");
        for (RunStart start : starts.subList(Math.max(0, starts.size() - STARTS_SHOWN), starts.size())) {
            RunEvent end = end(run.events(), start.attempt());
            boolean newest = start.attempt() == starts.size();
            html.append("<tr><td class=\"n\">").append(start.attempt()).append("</td><td class=\"time\">");
            html.append(EventSection.TIME.format(start.time())).append("</td><td class=\"n\">");
            html.append(HumanNumbers.grouped(start.firstStep())).append("</td><td>");
            html.append(
                    end != null
                            ? EventSection.badge(end.kind())
                            : newest ? badge("accent", "no end yet") : badge("bad", "broke off"));
            html.append("</td><td>")
                    .append(Html.escape(end == null ? "" : end.message()))
                    .append("</td></tr>");
        }
        return html.append("</tbody></table>").toString();
    }

    /** The event that ended an attempt, or null. */
    private static @Nullable RunEvent end(List<RunEvent> events, int attempt) {
        RunEvent end = null;
        for (RunEvent event : events) {
            boolean ends = switch (event.kind()) {
                case EventKind.FINISHED, EventKind.FAILED, EventKind.STOP -> true;
                default -> false;
            };
            // Of several the first one is nearest to the cause.
            if (event.attempt() == attempt && ends && end == null) {
                end = event;
            }
        }
        return end;
    }

    private static String ranks(List<RankBeat> ranks, @Nullable Instant now) {
        int newest = ranks.stream().mapToInt(RankBeat::step).max().orElse(0);
        List<RankBeat> slowestFirst = ranks.stream()
                .sorted(Comparator.comparing((RankBeat rank) -> !isSilent(rank, now))
                        .thenComparingInt(RankBeat::step)
                        .thenComparingInt(RankBeat::rank))
                .toList();
        int shown = Math.min(RANKS_SHOWN, slowestFirst.size());
        String html = "<h3>Ranks</h3>" + table(slowestFirst.subList(0, shown), newest, now);
        return shown == slowestFirst.size()
                ? html
                : html
                        + Page.fold(
                                (slowestFirst.size() - shown) + " more ranks",
                                table(slowestFirst.subList(shown, slowestFirst.size()), newest, now));
    }

    private static String table(List<RankBeat> ranks, int newest, @Nullable Instant now) {
        StringBuilder html =
                new StringBuilder("<table class=\"ranks\"><thead><tr><th class=\"n\">rank</th><th>host</th>"
                        + "<th>executor</th><th class=\"n\">step</th><th>phase</th><th class=\"n\">in it for</th>"
                        + "<th class=\"n\">heard of</th><th></th></tr></thead><tbody>");
        for (RankBeat rank : ranks) {
            html.append("<tr><td class=\"n\">").append(rank.rank()).append("</td><td>");
            html.append(Html.escape(rank.host())).append("</td><td>").append(Html.escape(rank.executor()));
            html.append("</td><td class=\"n\">")
                    .append(HumanNumbers.grouped(rank.step()))
                    .append("</td><td>");
            html.append(Html.escape(rank.phase().replace('_', ' '))).append("</td><td class=\"n\">");
            html.append(Html.escape(HumanNumbers.duration(rank.phaseSeconds()))).append("</td><td class=\"n\">");
            html.append(now == null ? "-" : Html.escape(HumanNumbers.duration(age(rank, now)) + " ago"));
            html.append("</td><td>").append(state(rank, newest, now)).append("</td></tr>");
        }
        return html.append("</tbody></table>").toString();
    }

    private static String state(RankBeat rank, int newest, @Nullable Instant now) {
        if (rank.phase().equals("done")) {
            return badge("good", "done");
        }
        if (isSilent(rank, now)) {
            return badge("bad", "silent");
        }
        int behind = newest - rank.step();
        return behind > 0 ? badge("warn", behind + (behind == 1 ? " step behind" : " steps behind")) : "";
    }

    private static boolean isSilent(RankBeat rank, @Nullable Instant now) {
        return now != null && !rank.phase().equals("done") && age(rank, now) > SILENT.toSeconds();
    }

    private static double age(RankBeat rank, Instant now) {
        return Math.max(0, Duration.between(rank.seen(), now).toMillis() * 1e-3);
    }

    private static String badge(String style, String text) {
        return "<span class=\"badge " + style + "\">" + Html.escape(text) + "</span>";
    }
}
