package io.fourfold.report;

import io.fourfold.metrics.RunHistory;
import java.time.Instant;
import org.jspecify.annotations.Nullable;

/**
 * A run that goes on as part of another page. Everything sits in a shadow root, so that neither page's styles reach the
 * other; the script fetches {@link #content} again every few seconds.
 */
public final class LivePage {
    private LivePage() {}

    /**
     * The element with the page in it.
     *
     * @param source address that answers with {@link #content}
     * @param run null when no run has started yet
     */
    public static String element(String source, @Nullable RunHistory run) {
        return "<div id=\"fourfold\" data-source=\"" + Html.escape(source)
                + "\"><template shadowrootmode=\"open\"><style>"
                + PageParts.shadowStyle() + "</style><div class=\"live\" role=\"status\"></div><div class=\"page\">"
                + content(run) + "</div></template></div>";
    }

    /** What changes while the run goes on, as markup. */
    public static String content(@Nullable RunHistory run) {
        if (run == null) {
            return "<header><div class=\"title\"><h1>Fourfold</h1><span class=\"badge idle\">no run yet</span></div></header>"
                    + Page.note("This application has not started to train. The page fills itself.");
        }
        String name = run.facts().getOrDefault("run", "run");
        return HeaderSection.html(name, run, true)
                + CurveSections.loss(run)
                + CurveSections.speed(run)
                + StartSection.html(run, Instant.now())
                + ExpertSection.html(run)
                + QuantizationSection.html(run)
                + CurveSections.optimizer(run)
                + EventSection.html(run);
    }

    /** The scripts of the page: tooltips and refreshing. */
    public static String script() {
        return PageParts.charts() + PageParts.resource("live.js");
    }
}
