package io.fourfold.config;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

class ConfigReferenceTest {
    @Test
    void committedReferenceIsCurrent() throws Exception {
        Path file = Path.of(System.getProperty("fourfold.root", ".."), "docs", "configuration.md");
        assertThat(Files.readString(file))
                .as("regenerate with: scripts/fourfold config-reference > docs/configuration.md")
                .isEqualTo(ConfigReference.markdown());
    }

    @Test
    void listsEverySettingOnce() {
        assertThat(ConfigReference.settings().stream().map(ConfigReference.Entry::path))
                .doesNotHaveDuplicates()
                .contains("model.moe.router.score", "train.optimizer.learning_rate", "data.blend", "run.dir")
                .hasSizeGreaterThan(80);
        assertThat(ConfigReference.markdown())
                .contains("### `recipe.late_switch`")
                .contains("| `beta1` | number, 0 to 1 | `0.9` |")
                .contains("| `layers` | whole number, 1 to 10000 | *required* |")
                .contains("| `blend` | mapping of names to number | `{}` |")
                .matches(text -> text.chars().allMatch(c -> c < 128), "is ASCII");
    }
}
