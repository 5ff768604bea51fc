package io.fourfold.parallel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.config.ContextExchange;
import io.fourfold.config.DispatchUnit;
import io.fourfold.config.GradientConfig;
import io.fourfold.config.ParallelConfig;
import io.fourfold.kernels.comm.CommunicationWorld;
import io.fourfold.kernels.comm.Communicator;
import java.lang.reflect.Proxy;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

class ProcessGroupsTest {
    /** Remembers which groups were asked for and the order in which they were closed. */
    private static final class RecordingWorld implements CommunicationWorld {
        private final int rank;
        private final int size;
        final List<String> made = new ArrayList<>();
        final List<String> closed = new ArrayList<>();

        RecordingWorld(int rank, int size) {
            this.rank = rank;
            this.size = size;
        }

        @Override
        public int rank() {
            return rank;
        }

        @Override
        public int size() {
            return size;
        }

        @Override
        public Communicator group(String name, List<Integer> worldRanks) {
            made.add(name + worldRanks);
            return (Communicator) Proxy.newProxyInstance(
                    Communicator.class.getClassLoader(), new Class<?>[] {Communicator.class}, (proxy, method, args) -> {
                        if (method.getName().equals("close")) {
                            closed.add(name);
                            return null;
                        }
                        return method.getName().equals("size") ? (Object) worldRanks.size() : name;
                    });
        }

        @Override
        public void abort(String reason) {}

        @Override
        public void close() {}
    }

    @Test
    void makesEveryGroupInTheSameOrderOnEveryRank() {
        ParallelMapping mapping = ParallelMapping.of(new ParallelConfig(
                4, 1, 1, ContextExchange.GATHER, 1, 2, 1, DispatchUnit.TOKEN, 1, List.of(), GradientConfig.PLAIN));
        RecordingWorld first = new RecordingWorld(0, 4);
        RecordingWorld last = new RecordingWorld(3, 4);
        try (ProcessGroups groups = ProcessGroups.create(mapping, first);
                ProcessGroups others = ProcessGroups.create(mapping, last)) {
            assertThat(groups.get(Axis.EP).size()).isEqualTo(2);
            assertThat(groups.world().size()).isEqualTo(4);
            assertThat(others.rank()).isEqualTo(3);
            assertThat(others.mapping()).isSameAs(mapping);
            assertThat(first.made).contains("world[0, 1, 2, 3]", "ep[0, 1]", "edp[0, 2]", "dp[0, 1, 2, 3]", "tp[0]");
            assertThat(last.made).contains("ep[2, 3]", "edp[1, 3]");
            assertThat(names(first.made)).isEqualTo(names(last.made));
        }
        List<String> reversed = new ArrayList<>(names(first.made));
        java.util.Collections.reverse(reversed);
        assertThat(first.closed).isEqualTo(reversed);
    }

    private static List<String> names(List<String> made) {
        return made.stream().map(s -> s.substring(0, s.indexOf('['))).toList();
    }

    @Test
    void refusesAWorldOfAnotherSize() {
        ParallelMapping mapping = ParallelMapping.of(new ParallelConfig(
                4, 1, 1, ContextExchange.GATHER, 1, 1, 1, DispatchUnit.TOKEN, 1, List.of(), GradientConfig.PLAIN));
        assertThatThrownBy(() -> ProcessGroups.create(mapping, new RecordingWorld(0, 2)))
                .hasMessageContaining("the mapping is for 4 ranks, the world has 2");
    }
}
