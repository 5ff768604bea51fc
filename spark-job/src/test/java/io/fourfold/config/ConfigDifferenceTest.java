package io.fourfold.config;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import org.junit.jupiter.api.Test;

class ConfigDifferenceTest {
    private static FourfoldConfig config(String extra) {
        return ConfigLoader.parse("test", ConfigLoaderTest.DENSE + extra).config();
    }

    @Test
    void nothingChangedInEqualConfigurations() {
        assertThat(ConfigDifference.between(config(""), config("train: {steps: 100}\n")))
                .isEmpty();
    }

    @Test
    void saysWhatMayChangeAndWhatMayNot() {
        List<ConfigDifference> differences = ConfigDifference.between(
                config(""),
                config(
                        "train: {steps: 200, seed: 5}\nrun: {log_every: 1}\nrecipe: {kind: nvfp4, late_switch: {step: 90}}\n"));
        assertThat(differences)
                .extracting(ConfigDifference::toString)
                .containsExactly(
                        "recipe.kind: bf16 -> nvfp4",
                        "recipe.late_switch.step: -1 -> 90",
                        "train.steps: 100 -> 200",
                        "train.seed: 1234 -> 5",
                        "run.log_every: 10 -> 1");
        assertThat(differences.stream().filter(d -> !d.allowed()).map(ConfigDifference::key))
                .containsExactly("recipe.kind", "train.seed");
    }

    @Test
    void rawTextMayMoveAndMayNotBecomeOther() {
        String sources = "data: {sources: {books: [a]}}\n";
        assertThat(ConfigDifference.between(config(sources), config(sources.replace("[a]", "[b]"))))
                .singleElement()
                .matches(ConfigDifference::allowed);
        assertThat(ConfigDifference.between(config(sources), config(sources.replace("books", "code"))))
                .singleElement()
                .matches(d -> !d.allowed());
    }

    @Test
    void aSectionThatAppearsOrGoesIsADifference() {
        List<ConfigDifference> differences = ConfigDifference.between(
                config(""),
                ConfigLoader.parse(
                                "test",
                                ConfigLoaderTest.DENSE.replaceAll("(?s)  ffn:.*", "")
                                        + "  moe: {experts: 4, top_k: 2, intermediate_size: 64}\n")
                        .config());
        assertThat(differences)
                .extracting(ConfigDifference::toString)
                .contains("model.moe.experts: (new) -> 4", "model.ffn.intermediate_size: 128 -> null");
        assertThat(differences).noneMatch(ConfigDifference::allowed);
    }
}
