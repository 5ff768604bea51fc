package io.fourfold.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

class BoxTest {
    @Test
    void differencesHoldWhatIsLeftOnce() {
        Random random = new Random(3);
        for (int trial = 0; trial < 300; trial++) {
            int rank = random.nextInt(4);
            Box box = random(random, rank);
            List<Box> others = new ArrayList<>();
            for (int i = random.nextInt(4); i > 0; i--) {
                others.add(random(random, rank));
            }
            List<Box> rest = Box.minus(List.of(box), others);
            Box all = new Box(new long[rank], filled(rank, 8));
            all.forEachRun(all, all, (first, unused, length) -> {
                for (long at = first; at < first + length; at++) {
                    Box element = new Box(index(at, rank), filled(rank, 1));
                    boolean left = element.intersect(box) != null
                            && others.stream().allMatch(other -> element.intersect(other) == null);
                    long found = rest.stream()
                            .filter(part -> element.intersect(part) != null)
                            .count();
                    assertThat(found)
                            .as("%s in %s minus %s", element, box, others)
                            .isEqualTo(left ? 1 : 0);
                }
            });
            assertThat(box.isCoveredBy(others)).isEqualTo(rest.isEmpty());
        }
    }

    private static Box random(Random random, int rank) {
        long[] offset = new long[rank];
        long[] extent = new long[rank];
        for (int i = 0; i < rank; i++) {
            offset[i] = random.nextInt(5);
            extent[i] = 1 + random.nextInt(3);
        }
        return new Box(offset, extent);
    }

    private static long[] filled(int rank, long value) {
        long[] values = new long[rank];
        Arrays.fill(values, value);
        return values;
    }

    private static long[] index(long element, int rank) {
        long position = element;
        long[] index = new long[rank];
        for (int i = rank - 1; i >= 0; i--) {
            index[i] = position % 8;
            position /= 8;
        }
        return index;
    }
}
