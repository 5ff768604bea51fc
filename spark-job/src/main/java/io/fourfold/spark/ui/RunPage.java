package io.fourfold.spark.ui;

import io.fourfold.metrics.RunState;
import io.fourfold.report.LivePage;
import jakarta.servlet.http.HttpServletRequest;
import java.util.List;
import java.util.function.Supplier;
import org.apache.spark.ui.UIUtils$;
import org.apache.spark.ui.WebUIPage;
import org.jspecify.annotations.Nullable;
import scala.Function0;
import scala.collection.immutable.Seq;
import scala.jdk.javaapi.CollectionConverters;
import scala.xml.Node;
import scala.xml.Unparsed;

/** Spark's header with the run below it. */
final class RunPage extends WebUIPage {
    private static final UIUtils$ PAGES = UIUtils$.MODULE$;

    private final FourfoldTab tab;
    private final Supplier<@Nullable RunState> run;

    RunPage(FourfoldTab tab, Supplier<@Nullable RunState> run) {
        super("");
        this.tab = tab;
        this.run = run;
    }

    @Override
    public Seq<Node> render(HttpServletRequest request) {
        RunState state = run.get();
        String base = PAGES.prependBaseUri(request, tab.basePath(), RunServlet.PATH);
        String markup = LivePage.element(base + RunServlet.CONTENT, state == null ? null : state.snapshot())
                // A file, not a text in the page: Spark's content security policy wants it so.
                + "<script src=\"" + base + RunServlet.SCRIPT + "\"></script>";
        Function0<Seq<Node>> content = () -> CollectionConverters.asScala(List.<Node>of(new Unparsed(markup)))
                .toList();
        return PAGES.headerSparkPage(
                request,
                "Training run",
                content,
                tab,
                PAGES.headerSparkPage$default$5(),
                PAGES.headerSparkPage$default$6(),
                PAGES.headerSparkPage$default$7(),
                PAGES.headerSparkPage$default$8());
    }
}
