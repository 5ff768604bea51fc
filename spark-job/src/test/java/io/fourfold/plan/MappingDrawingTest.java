package io.fourfold.plan;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.config.ConfigLoader;
import io.fourfold.config.FourfoldConfig;
import java.io.ByteArrayInputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import javax.xml.parsers.DocumentBuilderFactory;
import org.junit.jupiter.api.Test;
import org.w3c.dom.Document;
import org.w3c.dom.NodeList;

class MappingDrawingTest {
    private static final Path ROOT = Path.of(System.getProperty("fourfold.root", ".."));

    private static FourfoldConfig folded(String... settings) {
        return ConfigLoader.load(
                        List.of(
                                ROOT.resolve("conf/model/mixtral-8x7b.yaml"),
                                ROOT.resolve("conf/parallel/folded-16.yaml")),
                        List.of(settings))
                .config();
    }

    private static List<String> texts(String svg) throws Exception {
        Document document = DocumentBuilderFactory.newInstance()
                .newDocumentBuilder()
                .parse(new ByteArrayInputStream(svg.getBytes(StandardCharsets.UTF_8)));
        NodeList nodes = document.getElementsByTagName("text");
        List<String> texts = new ArrayList<>();
        for (int i = 0; i < nodes.getLength(); i++) {
            texts.add(nodes.item(i).getTextContent());
        }
        return texts;
    }

    @Test
    void everyRankStandsOnBothGridsWithItsGroups() throws Exception {
        List<String> texts = texts(MappingDrawing.svg(folded(), 8));
        for (int rank = 0; rank < 16; rank++) {
            String number = Integer.toString(rank);
            assertThat(texts.stream().filter(number::equals))
                    .as("rank %d", rank)
                    .hasSize(2);
        }
        assertThat(texts)
                .contains(
                        "TP groups: (0,1) (2,3) (4,5) (6,7)",
                        "CP groups: (8,10) (9,11) (12,14) (13,15)",
                        "DP groups: (0,4) (1,5) (2,6) (3,7)",
                        "EP groups: (8,9,10,11,12,13,14,15)",
                        "Pipeline rank 1: blocks 16-31, head")
                .anyMatch(text -> text.contains("PP groups (0,8)"));
    }

    @Test
    void virtualStagesAreNamed() throws Exception {
        assertThat(texts(MappingDrawing.svg(
                        folded("parallel.virtual_stages=2", "parallel.stage_layout=[0,15,16,1]"), 8)))
                .contains("Pipeline rank 0: embedding; blocks 15-30", "Pipeline rank 1: blocks 0-14; block 31, head");
    }

    @Test
    void theCommittedPictureIsCurrent() throws Exception {
        assertThat(Files.readString(ROOT.resolve("docs/images/folded-16.svg")))
                .as("regenerate with: fourfold plan --config conf/model/mixtral-8x7b.yaml --config"
                        + " conf/parallel/folded-16.yaml --draw docs/images/folded-16.svg")
                .isEqualTo(MappingDrawing.svg(folded(), 8));
    }
}
