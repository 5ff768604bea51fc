package io.fourfold.spark.ui;

import io.fourfold.metrics.RunState;
import java.util.function.Supplier;
import org.apache.spark.SparkContext;
import org.apache.spark.ui.SparkUI;
import org.apache.spark.ui.SparkUITab;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** The tab; its name on the page is its path with a capital letter. */
public final class FourfoldTab extends SparkUITab {
    static final String PATH = "fourfold";

    private static final Logger LOG = LoggerFactory.getLogger(FourfoldTab.class);

    private FourfoldTab(SparkUI ui) {
        super(ui, PATH);
    }

    /**
     * Adds the tab to a running application; without a web UI (spark.ui.enabled=false) nothing happens.
     *
     * @param run the run to show, null before there is one
     */
    public static void attach(SparkContext spark, Supplier<@Nullable RunState> run) {
        if (spark.ui().isEmpty()) {
            return;
        }
        try {
            SparkUI ui = spark.ui().get();
            FourfoldTab tab = new FourfoldTab(ui);
            tab.attachPage(new RunPage(tab, run));
            ui.attachTab(tab);
            ui.attachHandler(RunServlet.PATH, new RunServlet(run), "/*");
        } catch (RuntimeException | LinkageError e) {
            // Another version of Spark may have moved what the tab is made of.
            LOG.warn("The Fourfold tab is not there: {}. Everything else works without it", e.toString());
        }
    }
}
