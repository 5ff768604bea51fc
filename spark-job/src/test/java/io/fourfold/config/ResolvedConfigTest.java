package io.fourfold.config;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import org.junit.jupiter.api.Test;

class ResolvedConfigTest {
    private static final String EXTRA = """
            data:
              sources: {b: [x y, "café"], a: ["*.gz"]}
              blend: {b: 2.0, a: 1.0e-9}
              end_of_document: "<|endoftext|>"
            run: {name: "no", dir: "s3a://bucket/run \\"1\\""}
            train: {optimizer: {learning_rate: 0.00001}}
            """;

    @Test
    void readsBackEqual() {
        FourfoldConfig config =
                ConfigLoader.parse("test.yaml", ConfigLoaderTest.DENSE + EXTRA).config();
        ResolvedConfig resolved = ResolvedConfig.of(config);
        FourfoldConfig again =
                ConfigLoader.parse("config.yaml", resolved.yaml()).config();
        assertThat(again).isEqualTo(config);
        assertThat(ResolvedConfig.of(again).yaml()).isEqualTo(resolved.yaml());
        assertThat(ResolvedConfig.of(again).sha256())
                .isEqualTo(resolved.sha256())
                .hasSize(64);
        assertThat(resolved.yaml())
                .contains("  sources: {a: [\"*.gz\"], b: [\"x y\", \"caf\\u00e9\"]}\n")
                .contains("  blend: {a: 1.0e-9, b: 2.0}\n")
                .contains("  moe: null\n")
                .contains("    learning_rate: 1.0e-5\n")
                .contains("  name: \"no\"\n");
        assertThat(resolved.values()).containsEntry("model.attention.heads", "4");
    }

    @Test
    void layeringDoesNotChangeTheHashAndValuesDo() {
        FourfoldConfig one = ConfigLoader.parse("a", ConfigLoaderTest.DENSE + "train: {steps: 100}\n")
                .config();
        FourfoldConfig two =
                ConfigLoader.parse("b", "train: {}\n" + ConfigLoaderTest.DENSE).config();
        FourfoldConfig other = ConfigLoader.parse("c", "train: {seed: 2}\n" + ConfigLoaderTest.DENSE)
                .config();
        assertThat(ResolvedConfig.of(one).sha256())
                .isEqualTo(ResolvedConfig.of(two).sha256());
        assertThat(ResolvedConfig.of(one).sha256())
                .isNotEqualTo(ResolvedConfig.of(other).sha256());
    }

    @Test
    void provenanceCoversEveryValue() {
        ConfigLoader.Loaded loaded = ConfigLoader.parse("test.yaml", ConfigLoaderTest.DENSE + EXTRA);
        List<String> written =
                List.copyOf(ResolvedConfig.of(loaded.config()).values().keySet());
        assertThat(loaded.provenance().keySet()).containsExactlyInAnyOrderElementsOf(written);
    }
}
