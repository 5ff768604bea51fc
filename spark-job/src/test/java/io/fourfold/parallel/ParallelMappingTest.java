package io.fourfold.parallel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.config.ConfigException;
import io.fourfold.config.ContextExchange;
import io.fourfold.config.DispatchUnit;
import io.fourfold.config.GradientConfig;
import io.fourfold.config.ParallelConfig;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class ParallelMappingTest {
    private static ParallelConfig config(int world, int tp, int cp, int pp, int ep, int etp) {
        return new ParallelConfig(
                world,
                tp,
                cp,
                ContextExchange.GATHER,
                pp,
                ep,
                etp,
                DispatchUnit.TOKEN,
                1,
                List.of(),
                GradientConfig.PLAIN);
    }

    /** Every legal combination of degrees for the worlds up to 64 ranks (all sizes up to 16, then round ones). */
    private static List<ParallelConfig> allLegal() {
        List<ParallelConfig> legal = new ArrayList<>();
        IntStream worlds = IntStream.concat(IntStream.rangeClosed(1, 16), IntStream.of(24, 32, 36, 48, 60, 64));
        for (int world : worlds.toArray()) {
            List<Integer> divisors = IntStream.rangeClosed(1, world)
                    .filter(d -> world % d == 0)
                    .boxed()
                    .toList();
            for (int pp : divisors) {
                for (int tp : divisors) {
                    for (int cp : divisors) {
                        if (world % (tp * cp * pp) != 0) {
                            continue;
                        }
                        for (int ep : divisors) {
                            for (int etp : divisors) {
                                if (world % (ep * etp * pp) == 0) {
                                    legal.add(config(world, tp, cp, pp, ep, etp));
                                }
                            }
                        }
                    }
                }
            }
        }
        return legal;
    }

    @Test
    void everyAxisPartitionsTheWorldUnderEveryLegalMapping() {
        List<ParallelConfig> legal = allLegal();
        assertThat(legal).hasSizeGreaterThan(2000);
        for (ParallelConfig config : legal) {
            ParallelMapping mapping = ParallelMapping.of(config);
            for (Axis axis : Axis.values()) {
                boolean[] seen = new boolean[mapping.worldSize()];
                for (List<Integer> group : mapping.groups(axis)) {
                    checkGroup(mapping, axis, group, seen);
                }
                assertThat(seen).as("%s %s covers every rank", mapping, axis).doesNotContain(false);
            }
        }
    }

    /** Plain comparisons: the sweep makes some millions of them. */
    private static void checkGroup(ParallelMapping mapping, Axis axis, List<Integer> group, boolean[] seen) {
        if (group.size() != mapping.size(axis)) {
            throw new AssertionError(mapping + " " + axis + ": group " + group + " is not " + mapping.size(axis));
        }
        for (int i = 0; i < group.size(); i++) {
            int rank = group.get(i);
            if (seen[rank]) {
                throw new AssertionError(mapping + " " + axis + ": rank " + rank + " is in two groups");
            }
            seen[rank] = true;
            if (i > 0 && group.get(i - 1) >= rank) {
                throw new AssertionError(mapping + " " + axis + ": group " + group + " is not ascending");
            }
            if (mapping.coordinate(axis, rank) != i
                    || (i == 0 && !mapping.group(axis, rank).equals(group))) {
                throw new AssertionError(mapping + " " + axis + ": rank " + rank + " does not know its place");
            }
        }
    }

    @Test
    void theTwoGridsAgreeOnPipelineStages() {
        for (ParallelConfig config : allLegal()) {
            ParallelMapping mapping = ParallelMapping.of(config);
            int stage = mapping.worldSize() / mapping.pipeline();
            assertThat(mapping.tensor() * mapping.context() * mapping.data()).isEqualTo(stage);
            assertThat(mapping.expertTensor() * mapping.expert() * mapping.expertData())
                    .isEqualTo(stage);
            for (int rank = 0; rank < mapping.worldSize(); rank++) {
                int index = rank / stage;
                if (mapping.coordinate(Axis.PP, rank) != index) {
                    throw new AssertionError(mapping + ": rank " + rank + " is not of stage " + index);
                }
            }
            // No group but PP itself leaves a stage.
            for (Axis axis : Axis.values()) {
                List<Integer> group = mapping.group(axis, mapping.worldSize() - 1);
                if (axis != Axis.PP && group.get(0) / stage != mapping.pipeline() - 1) {
                    throw new AssertionError(mapping + " " + axis + " leaves the last stage: " + group);
                }
            }
        }
    }

    /** TP2 CP2 DP2 PP2 with ETP1 EP8 EDP1 PP2: the example of the paper's appendix, with PP slowest. */
    @Test
    void sixteenRankExample() {
        ParallelMapping mapping = ParallelMapping.of(config(16, 2, 2, 2, 8, 1));
        assertThat(mapping).hasToString("W16 attention TP2 CP2 DP2 PP2 | MoE ETP1 EP8 EDP1 PP2");
        assertThat(mapping.group(Axis.TP, 0)).containsExactly(0, 1);
        assertThat(mapping.group(Axis.CP, 0)).containsExactly(0, 2);
        assertThat(mapping.group(Axis.DP, 0)).containsExactly(0, 4);
        assertThat(mapping.group(Axis.PP, 0)).containsExactly(0, 8);
        assertThat(mapping.group(Axis.DP_CP, 1)).containsExactly(1, 3, 5, 7);
        assertThat(mapping.group(Axis.TP_CP, 5)).containsExactly(4, 5, 6, 7);
        assertThat(mapping.groups(Axis.EP))
                .containsExactly(List.of(0, 1, 2, 3, 4, 5, 6, 7), List.of(8, 9, 10, 11, 12, 13, 14, 15));
        assertThat(mapping.group(Axis.EDP, 3)).containsExactly(3);
        assertThat(mapping.group(Axis.ETP, 3)).containsExactly(3);
        assertThat(mapping.coordinate(Axis.DP, 13)).isEqualTo(1);
        assertThat(mapping.coordinate(Axis.EP, 13)).isEqualTo(5);
        assertThat(mapping.coordinate(Axis.DP_CP, 6)).isEqualTo(3);
    }

    @Test
    void saysWhichGroupsLeaveAHost() {
        ParallelMapping mapping = ParallelMapping.of(config(16, 2, 2, 2, 8, 1));
        assertThat(mapping.groupsLeavingHost(16)).isEmpty();
        assertThat(mapping.groupsLeavingHost(8)).containsOnlyKeys(Axis.PP);
        assertThat(mapping.groupsLeavingHost(4))
                .containsOnlyKeys(Axis.DP, Axis.PP, Axis.DP_CP, Axis.EP, Axis.ETP_EP, Axis.STAGE);
        assertThat(mapping.groupsLeavingHost(4).get(Axis.EP)).hasSize(2);
        assertThatThrownBy(() -> mapping.groupsLeavingHost(0)).hasMessageContaining("at least 1");
    }

    @Test
    void reportsAllProblemsAtOnce() {
        assertThatThrownBy(() -> ParallelMapping.of(new ParallelConfig(
                        10,
                        4,
                        1,
                        ContextExchange.GATHER,
                        1,
                        3,
                        1,
                        DispatchUnit.TOKEN,
                        2,
                        List.of(),
                        GradientConfig.PLAIN)))
                .isInstanceOf(ConfigException.class)
                .hasMessageContaining("3 problems")
                .hasMessageContaining("multiple of 4 (attention grid")
                .hasMessageContaining("set world_size to 12")
                .hasMessageContaining("multiple of 3 (MoE grid")
                .hasMessageContaining("parallel.virtual_stages = 2");
        assertThatThrownBy(() -> ParallelMapping.of(new ParallelConfig(
                        0,
                        0,
                        1,
                        ContextExchange.GATHER,
                        1,
                        1,
                        1,
                        DispatchUnit.TOKEN,
                        1,
                        List.of(),
                        GradientConfig.PLAIN)))
                .hasMessageContaining("parallel.world_size = 0")
                .hasMessageContaining("parallel.tensor_parallel_size = 0");
    }

    @Test
    void refusesRanksOutsideTheWorld() {
        ParallelMapping mapping = ParallelMapping.of(config(4, 2, 1, 1, 1, 1));
        assertThatThrownBy(() -> mapping.group(Axis.TP, 4)).hasMessageContaining("rank 4 is not in a world of 4");
        assertThatThrownBy(() -> mapping.coordinate(Axis.TP, -1)).isInstanceOf(IndexOutOfBoundsException.class);
    }
}
