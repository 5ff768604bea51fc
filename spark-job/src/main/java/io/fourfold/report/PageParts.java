package io.fourfold.report;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;

/** Style sheets and scripts of the report and of the live page. */
final class PageParts {
    private PageParts() {}

    /** For a page of its own: follows the browser's choice of light or dark. */
    static String pageStyle() {
        return ":root {\n  color-scheme: light dark;\n" + resource("light.css")
                + "}\n@media (prefers-color-scheme: dark) {\n:root {\n" + resource("dark.css") + "}\n}\n"
                + resource("report.css");
    }

    /** For a shadow root: follows the attribute data-theme of its host. */
    static String shadowStyle() {
        return ":host {\n  display: block; color-scheme: light; background: var(--page); border-radius: 12px;\n"
                + resource("light.css")
                + "}\n:host([data-theme=dark]) {\n  color-scheme: dark;\n" + resource("dark.css") + "}\n"
                + resource("report.css") + ".page { max-width: 1500px; padding: 22px 24px 36px; }\n";
    }

    /** The script that defines fourfoldCharts(root). */
    static String charts() {
        return resource("report.js");
    }

    static String resource(String name) {
        try (InputStream in = PageParts.class.getResourceAsStream(name)) {
            if (in == null) {
                throw new IllegalStateException("The jar lacks io/fourfold/report/" + name + ": build it again");
            }
            return new String(in.readAllBytes(), StandardCharsets.UTF_8);
        } catch (IOException e) {
            throw new UncheckedIOException("Cannot read " + name + " from the jar", e);
        }
    }
}
