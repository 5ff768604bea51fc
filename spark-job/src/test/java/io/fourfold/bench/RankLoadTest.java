package io.fourfold.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.fourfold.metrics.StepMetrics.LayerLoad;
import java.util.List;
import org.junit.jupiter.api.Test;

class RankLoadTest {
    @Test
    void theFullestRankIsMeasuredByTheMeanOfItsLayer() {
        List<LayerLoad> layers = List.of(
                new LayerLoad(0, new int[] {4, 2, 1, 1}), // 6 and 2
                new LayerLoad(1, new int[] {0, 0, 0, 0}), // dense, or of another stage
                new LayerLoad(2, new int[] {10, 0, 5, 5}));
        assertThat(RankLoad.fullest(layers, 2)).isEqualTo((1.5 + 1) / 2, within(1e-12));
        assertThat(RankLoad.fullest(layers, 4)).isEqualTo((2.0 + 2.0) / 2, within(1e-12));
        assertThat(RankLoad.fullest(layers, 1)).isEqualTo(1);
        assertThat(RankLoad.fullest(List.of(), 2)).isNaN();
    }
}
