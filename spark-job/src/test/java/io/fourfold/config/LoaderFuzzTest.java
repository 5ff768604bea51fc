package io.fourfold.config;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.plan.Plan;
import io.fourfold.plan.PlanText;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** Whatever is written, the answer is a configuration that can be planned or a list of problems, never a crash. */
class LoaderFuzzTest {
    private static final List<String> VALUES = List.of(
            "0",
            "1",
            "2",
            "3",
            "7",
            "16",
            "64",
            "-1",
            "2147483647",
            "99999999999",
            "1.5",
            "1e300",
            "-0.0",
            ".5",
            "true",
            "no",
            "null",
            "~",
            "\"\"",
            "abc",
            "[]",
            "[1, 1]",
            "[-5]",
            "{}",
            "{a: 1}",
            "{a: [b]}",
            "nvfp4",
            "sigmoid",
            "*x",
            "&x 1",
            "\t",
            "'",
            "]",
            "? a",
            "|");

    @Test
    void arbitraryValuesNeverCrash() {
        List<String> paths = SettingKeys.all(FourfoldConfig.class, "").stream()
                .map(SettingKeys.Key::path)
                .toList();
        Random random = new Random(20);
        int loaded = 0;
        for (int round = 0; round < 1200; round++) {
            List<String> sets = new ArrayList<>();
            for (int i = 0; i <= random.nextInt(3); i++) {
                String path = paths.get(random.nextInt(paths.size()));
                sets.add(path + "=" + VALUES.get(random.nextInt(VALUES.size())));
            }
            loaded += survives(sets) ? 1 : 0;
        }
        assertThat(loaded).as("configurations that loaded").isBetween(50, 650);
    }

    private static boolean survives(List<String> sets) {
        try {
            FourfoldConfig config = ConfigLoader.load(List.of(), merged(sets)).config();
            assertThat(ConfigLoader.parse("again", ResolvedConfig.of(config).yaml())
                            .config())
                    .isEqualTo(config);
            assertThat(PlanText.of(Plan.of(config))).isNotEmpty();
            return true;
        } catch (ConfigException e) {
            assertThat(e.problems()).anyMatch(Problem::isError);
            assertThat(e.problems()).allSatisfy(p -> assertThat(p.rule()).isNotBlank());
            return false;
        } catch (RuntimeException | StackOverflowError e) {
            throw new AssertionError("crashed on " + sets, e);
        }
    }

    private static List<String> merged(List<String> sets) {
        List<String> all = new ArrayList<>(List.of("model={name: m, layers: 2, hidden_size: 64, vocab_size: 512,"
                + " attention: {heads: 4, kv_heads: 2, head_dim: 16}, ffn: {intermediate_size: 128},"
                + " moe: {experts: 4, top_k: 2, intermediate_size: 64, dense_layers: [0]}}"));
        all.addAll(sets);
        return Collections.unmodifiableList(all);
    }
}
