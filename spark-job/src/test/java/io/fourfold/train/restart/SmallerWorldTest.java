package io.fourfold.train.restart;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.train.TinyRun;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class SmallerWorldTest {
    @Test
    void keepsTheGlobalBatchAndTheMapping() {
        FourfoldConfig four = config(4, 1);
        assertThat(SmallerWorld.largest(four, 4, 1)).hasValue(4);
        // A global batch of 4 does not split over 3 ranks.
        assertThat(SmallerWorld.largest(four, 3, 1)).hasValue(2);
        assertThat(SmallerWorld.largest(four, 3, 3)).isEmpty();
        assertThat(SmallerWorld.largest(config(4, 2), 1, 1)).isEmpty();
        assertThat(SmallerWorld.largest(config(4, 2), 3, 0)).hasValue(2);
        assertThat(SmallerWorld.largest(four, 0, 0)).isEmpty();
    }

    @Test
    void changesTheNumberOfRanksAndNothingElse() {
        FourfoldConfig four = config(4, 2);
        FourfoldConfig two = SmallerWorld.with(four, 2);
        assertThat(two.parallel().worldSize()).isEqualTo(2);
        assertThat(two.parallel().expertParallelSize()).isEqualTo(2);
        assertThat(two.run().faults()).containsExactly("slow rank=1 step=2");
        assertThat(two.train()).isEqualTo(four.train());
        assertThat(two.model()).isEqualTo(four.model());
    }

    @Test
    void aRestartContinuesItsOwnRun() {
        FourfoldConfig fresh = TinyRun.tinyConfig(Map.of("run.checkpoint.resume", "false"));
        assertThat(SmallerWorld.of(fresh, Attempt.first(1))).isEqualTo(fresh);
        FourfoldConfig again = SmallerWorld.of(fresh, new Attempt(2, 1, List.of(), "it failed"));
        assertThat(again.run().checkpoint().resume()).isTrue();
    }

    private static FourfoldConfig config(int ranks, int experts) {
        return TinyRun.tinyConfig(Map.of(
                "parallel.world_size", Integer.toString(ranks),
                "parallel.expert_parallel_size", Integer.toString(experts),
                "run.faults", "[crash rank=3 step=2, slow rank=1 step=2]"));
    }
}
