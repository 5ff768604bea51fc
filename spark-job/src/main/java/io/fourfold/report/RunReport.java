package io.fourfold.report;

import io.fourfold.metrics.MetricsReader;
import io.fourfold.metrics.RunHistory;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.AtomicMoveNotSupportedException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Writes report.html, a single page that opens without a network, and loss.png, from what a run folder holds:
 * metrics.jsonl and, where they are there, config.yaml, plan.json and generation.txt. A run that is not finished, or that
 * lacks parts, gets a report of what there is.
 */
public final class RunReport {
    /** The page's name in a run folder. */
    public static final String FILE_NAME = "report.html";

    private static final Logger LOG = LoggerFactory.getLogger(RunReport.class);

    private RunReport() {}

    /**
     * Reads the run folder and writes both files into it, replacing older ones.
     *
     * @return the path of report.html
     * @throws IOException when the folder cannot be read or written
     */
    public static Path write(Path runFolder) throws IOException {
        RunHistory run = MetricsReader.read(runFolder);
        Path target = runFolder.resolve(FILE_NAME);
        replace(target, page(runFolder, run));
        if (!Curve.loss(run).isEmpty()) {
            Path plot = runFolder.resolve(LossPlot.FILE_NAME);
            try {
                LossPlot.write(plot, run);
            } catch (RuntimeException | LinkageError | InternalError e) {
                // Java draws text with the system's fonts; a bare server or container may have none.
                LOG.warn(
                        "{} was not drawn: {}. If no fonts are installed, install one (apt-get install fonts-dejavu-core"
                                + " fontconfig) and write the report again; {} is complete without it",
                        plot,
                        e.toString(),
                        target);
            }
        }
        return target;
    }

    /** The whole page. */
    static String page(Path runFolder, RunHistory run) throws IOException {
        Path folderName = runFolder.toAbsolutePath().normalize().getFileName();
        String name = run.facts().getOrDefault("run", folderName == null ? "run" : folderName.toString());
        StringBuilder html = new StringBuilder(1 << 16);
        html.append("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>");
        html.append("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>");
        html.append("<meta name=\"color-scheme\" content=\"light dark\"/><title>");
        html.append(Html.escape(name)).append(" - Fourfold</title>\n<style>\n").append(PageParts.pageStyle());
        html.append("</style></head>\n<body><main>\n");
        html.append(HeaderSection.html(name, run, false));
        html.append(CurveSections.loss(run));
        html.append(CurveSections.optimizer(run));
        html.append(CurveSections.speed(run));
        html.append(ExpertSection.html(run));
        html.append(QuantizationSection.html(run));
        html.append(sample(optional(runFolder.resolve("generation.txt"))));
        html.append(StartSection.html(run, run.updated()));
        html.append(EventSection.html(run));
        html.append(PlanSection.html(optional(runFolder.resolve("plan.json"))));
        html.append(configuration(optional(runFolder.resolve("config.yaml"))));
        html.append(
                "<footer>Written by Fourfold from metrics.jsonl; every number is defined in docs/metrics.md.</footer>");
        html.append("</main>\n<script>//<![CDATA[\n").append(PageParts.charts());
        return html.append("fourfoldCharts(document);\n//]]></script></body></html>\n")
                .toString();
    }

    private static String sample(@Nullable String text) {
        String body = text == null
                ? Page.note("No generation.txt in the run folder.")
                : "<pre class=\"sample\">" + Html.escape(text.strip()) + "</pre>";
        return Page.section("sample", "Generated text", "", "<div class=\"card pad\">" + body + "</div>");
    }

    private static String configuration(@Nullable String yaml) {
        String body = yaml == null
                ? Page.note("No config.yaml in the run folder.")
                : Page.fold("The resolved configuration", Page.preformatted(yaml));
        return Page.section("configuration", "Configuration", "", "<div class=\"card pad\">" + body + "</div>");
    }

    /** Malformed UTF-8 is shown with replacement characters: a generated text may well hold some. */
    private static @Nullable String optional(Path file) throws IOException {
        return Files.isRegularFile(file) ? new String(Files.readAllBytes(file), StandardCharsets.UTF_8) : null;
    }

    /** A reader never sees half a page. */
    private static void replace(Path target, String text) throws IOException {
        Path aside = target.resolveSibling(target.getFileName() + ".tmp");
        Files.writeString(aside, text, StandardCharsets.UTF_8);
        try {
            Files.move(aside, target, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
        } catch (AtomicMoveNotSupportedException e) {
            Files.move(aside, target, StandardCopyOption.REPLACE_EXISTING);
        }
    }
}
