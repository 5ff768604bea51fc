package io.fourfold.spark.ui;

import io.fourfold.metrics.RunState;
import io.fourfold.report.LivePage;
import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/** What the page fetches: its script, and its content again and again. Spark's filters (permissions) apply. */
final class RunServlet extends HttpServlet {
    static final String PATH = "/fourfold-live";
    static final String CONTENT = "/content";
    static final String SCRIPT = "/script.js";

    private static final long serialVersionUID = 1;

    private final transient Supplier<@Nullable RunState> run;

    RunServlet(Supplier<@Nullable RunState> run) {
        this.run = run;
    }

    @Override
    protected void doGet(HttpServletRequest request, HttpServletResponse response) throws IOException {
        String path = String.valueOf(request.getPathInfo());
        if (path.equals(SCRIPT)) {
            answer(response, "text/javascript", LivePage.script());
        } else if (path.equals(CONTENT)) {
            RunState state = run.get();
            answer(response, "text/html", LivePage.content(state == null ? null : state.snapshot()));
        } else {
            response.sendError(HttpServletResponse.SC_NOT_FOUND);
        }
    }

    private static void answer(HttpServletResponse response, String type, String text) throws IOException {
        response.setContentType(type + ";charset=utf-8");
        response.setHeader("Cache-Control", "no-cache, no-store");
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        response.setContentLength(bytes.length);
        response.getOutputStream().write(bytes);
    }
}
