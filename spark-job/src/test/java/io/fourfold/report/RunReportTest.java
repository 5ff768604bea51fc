package io.fourfold.report;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.metrics.EventKind;
import io.fourfold.metrics.JsonlSink;
import io.fourfold.metrics.MetricsReader;
import io.fourfold.metrics.StepMetrics;
import java.awt.image.BufferedImage;
import java.io.IOException;
import java.io.StringReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import javax.imageio.ImageIO;
import javax.xml.parsers.DocumentBuilderFactory;
import javax.xml.parsers.ParserConfigurationException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.w3c.dom.Document;
import org.w3c.dom.Element;
import org.w3c.dom.NodeList;
import org.xml.sax.InputSource;
import org.xml.sax.SAXException;

class RunReportTest {
    private static final String[] SECTIONS = {
        "summary",
        "facts",
        "loss",
        "optimizer",
        "speed",
        "experts",
        "quantization",
        "sample",
        "starts",
        "events",
        "plan",
        "configuration"
    };

    @TempDir
    Path folder;

    /** Well-formed XML with every section, in which nothing points outside the page. */
    private Document checked() throws IOException {
        String html = Files.readString(RunReport.write(folder));
        assertThat(html).startsWith("<!DOCTYPE html>\n");
        assertThat(html).doesNotContainIgnoringCase("http://").doesNotContainIgnoringCase("https://");
        assertThat(html).doesNotContain("src=").doesNotContain("@import").doesNotContain("<link");
        assertThat(html.replace("href=\"data:image/png;base64,", ""))
                .doesNotContain("href=")
                .doesNotContain("url(");
        Document document = parse(html);
        assertThat(ids(document)).containsExactly(SECTIONS);
        return document;
    }

    @Test
    void replacedLinesAreThoseOfEarlierAttempts() throws IOException {
        new SyntheticRun(100).write(folder, 1, 13).write(folder, 13, 25);
        assertThat(Files.readString(RunReport.write(folder)))
                .contains("1 step or evaluation line of an earlier attempt was replaced by a later one.");
        new SyntheticRun(100).write(folder, 24, 30);
        assertThat(Files.readString(RunReport.write(folder)))
                .contains("3 step and evaluation lines of earlier attempts were replaced by later ones.");
    }

    private static Document parse(String html) {
        try {
            DocumentBuilderFactory factory = DocumentBuilderFactory.newInstance();
            return factory.newDocumentBuilder()
                    .parse(new InputSource(new StringReader(html.substring(html.indexOf("<html")))));
        } catch (ParserConfigurationException | SAXException | IOException e) {
            throw new AssertionError("The report is not well-formed", e);
        }
    }

    private static List<String> ids(Document document) {
        List<String> ids = new ArrayList<>();
        NodeList sections = document.getElementsByTagName("section");
        for (int i = 0; i < sections.getLength(); i++) {
            ids.add(((Element) sections.item(i)).getAttribute("id"));
        }
        return ids;
    }

    private static int count(Document document, String tag) {
        return document.getElementsByTagName(tag).getLength();
    }

    @Test
    void aWholeRunHasEveryChartAndNothingBreaksOutOfTheMarkup() throws IOException {
        new SyntheticRun(200).write(folder, 1, 130).write(folder, 101, 200).writeExtras(folder);

        Document document = checked();

        assertThat(document.getElementsByTagName("h1").item(0).getTextContent()).isEqualTo("tiny-nvfp4");
        assertThat(document.getDocumentElement().getTextContent())
                .contains("finished, 200 steps")
                .contains("the <script>alert('x')</script> & the \"sea\"")
                .contains("31 step and evaluation lines")
                .contains("expert_down.dgrad.w")
                .contains("precision switch, step 160")
                .contains("47.3 MiB");
        assertThat(count(document, "script")).isEqualTo(1);
        assertThat(count(document, "b"))
                .as("the legend of the step time, no markup of the configuration")
                .isEqualTo(6);
        // loss, rate, norm, throughput, step time, imbalance, two auxiliary losses; all layers, six layers, two FP4
        // maps
        assertThat(count(document, "svg")).isEqualTo(8 + 1 + 6 + 2);
        assertThat(count(document, "image")).isEqualTo(1 + 6 + 2);
        BufferedImage plot = ImageIO.read(folder.resolve("loss.png").toFile());
        assertThat(plot.getWidth()).isEqualTo(2000);
        assertThat(folder.resolve("report.html.tmp")).doesNotExist();
    }

    @Test
    void anEmptyFolderHasAReportThatSaysSo() throws IOException {
        Document document = checked();
        assertThat(document.getDocumentElement().getTextContent())
                .contains("no steps yet")
                .contains("No generation.txt");
        assertThat(folder.resolve("loss.png")).doesNotExist();
    }

    @Test
    void oneStepIsEnough() throws IOException {
        new SyntheticRun(50).write(folder, 1, 1);

        Document document = checked();

        assertThat(document.getDocumentElement().getTextContent()).contains("unfinished, step 1 of 50");
        assertThat(folder.resolve("loss.png")).exists();
    }

    @Test
    void aBf16RunWithoutTelemetryAndAFailureAreTold() throws IOException {
        new SyntheticRun(50).recipe("bf16", 1).write(folder, 1, 20);
        try (JsonlSink sink = new JsonlSink(folder)) {
            sink.start(new SyntheticRun(50).facts(), 21, 50);
            sink.step(nonFinite());
            sink.event(21, EventKind.NON_FINITE, "loss is NaN in layer 3");
        }

        String text = checked().getDocumentElement().getTextContent();

        assertThat(text).contains("failed at step 21 of 50").contains("No quantization statistics");
    }

    private static StepMetrics nonFinite() {
        double nan = Double.NaN;
        return new StepMetrics(
                21, 21 * 8192, 168, nan, nan, nan, nan, 0, nan, nan, nan, nan, Map.of(), Map.of(), List.of(), 0,
                Map.of());
    }

    @Test
    void aLongRunOfALargeModelStaysASmallPage() throws IOException {
        new SyntheticRun(1_500).model(30, 130).recipe("bf16", 1).write(folder, 1, 1_500);

        Document document = checked();

        assertThat(Files.size(folder.resolve("report.html"))).isLessThan(8_000_000);
        assertThat(count(document, "image")).isEqualTo(1 + 24);
        assertThat(document.getDocumentElement().getTextContent()).contains("24 of 30 layers");
    }

    @Test
    void aBrokenPlanIsShownAsText() throws IOException {
        Files.writeString(folder.resolve("plan.json"), "{\"a\": <oops>");
        assertThat(checked().getDocumentElement().getTextContent())
                .contains("plan.json is not valid JSON")
                .contains("<oops>");
    }

    @Test
    void pixelsAreNeverNaN() throws IOException {
        new SyntheticRun(30).write(folder, 1, 30);
        String html = Files.readString(RunReport.write(folder));
        assertThat(Pattern.compile("(d|x|y|cx|cy|width|height)=\"[^\"]*(NaN|Infinity)")
                        .matcher(html)
                        .find())
                .isFalse();
        assertThat(MetricsReader.read(folder).steps()).hasSize(30);
    }
}
