package io.fourfold.parallel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.config.ConfigException;
import io.fourfold.config.ConfigLoader;
import io.fourfold.config.FourfoldConfig;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class StageLayoutTest {
    private static FourfoldConfig config(String... settings) {
        List<String> sets = new ArrayList<>(List.of(
                "model.name=test",
                "model.layers=8",
                "model.hidden_size=16",
                "model.vocab_size=2",
                "model.attention={heads: 4, kv_heads: 4, head_dim: 4}",
                "model.ffn={intermediate_size: 48}"));
        sets.addAll(List.of(settings));
        return ConfigLoader.load(List.of(), sets).config();
    }

    private static List<Integer> blocks(String... settings) {
        FourfoldConfig config = config(settings);
        StageLayout layout = StageLayout.of(config.model(), config.parallel());
        return layout.stages().stream().map(Stage::layers).toList();
    }

    @Test
    void aSmallHeadLeavesTheBlocksEven() {
        assertThat(blocks("parallel.world_size=1")).containsExactly(8);
        assertThat(blocks("parallel.world_size=4", "parallel.pipeline_parallel_size=4"))
                .containsExactly(2, 2, 2, 2);
        assertThat(blocks("parallel.world_size=2", "parallel.pipeline_parallel_size=2", "parallel.virtual_stages=4"))
                .containsOnly(1);
    }

    @Test
    void aLargeHeadTakesThePlaceOfBlocks() {
        // One block multiplies a token with 4*16*16 + 3*16*48 = 3328 weights, the head with 16 * 416 = 6656: two
        // blocks.
        assertThat(blocks("parallel.world_size=2", "parallel.pipeline_parallel_size=2", "model.vocab_size=416"))
                .containsExactly(5, 3);
        assertThat(blocks(
                        "parallel.world_size=4",
                        "parallel.pipeline_parallel_size=4",
                        "model.layers=6",
                        "model.vocab_size=416"))
                .containsExactly(2, 2, 2, 0);
    }

    @Test
    void stagesAreDealtRoundTheRanks() {
        FourfoldConfig config = config(
                "parallel.world_size=2",
                "parallel.pipeline_parallel_size=2",
                "parallel.virtual_stages=2",
                "parallel.stage_layout=[0,3,4,1]");
        StageLayout layout = StageLayout.of(config.model(), config.parallel());
        assertThat(layout.of(0)).containsExactly(new Stage(0, 0, 0, true, false), new Stage(2, 3, 7, false, false));
        assertThat(layout.of(1)).containsExactly(new Stage(1, 0, 3, false, false), new Stage(3, 7, 8, false, true));
    }

    @ParameterizedTest
    @ValueSource(strings = {"[8]", "[4,5]", "[4,-4]", "[2,2,4]", "[9,-1]"})
    void layoutsThatDoNotFitAreRefused(String layout) {
        assertThatThrownBy(() -> config(
                        "parallel.world_size=2",
                        "parallel.pipeline_parallel_size=2",
                        "parallel.stage_layout=" + layout))
                .isInstanceOf(ConfigException.class)
                .hasMessageContaining("parallel.stage_layout")
                .hasMessageContaining("2 numbers");
    }
}
