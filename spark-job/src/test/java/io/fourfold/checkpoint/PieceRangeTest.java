package io.fourfold.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

class PieceRangeTest {
    @Test
    void boxesListTheRangeInRowMajorOrder() {
        Random random = new Random(7);
        for (int trial = 0; trial < 500; trial++) {
            int rank = 1 + random.nextInt(4);
            long[] offset = new long[rank];
            long[] extent = new long[rank];
            for (int i = 0; i < rank; i++) {
                offset[i] = random.nextInt(3);
                extent[i] = 1 + random.nextInt(4);
            }
            int n = (int) Box.elements(extent);
            int from = random.nextInt(n);
            int to = from + 1 + random.nextInt(n - from);
            PieceRange range = new PieceRange("t", offset, extent, from, to);

            Box holder = new Box(offset, extent);
            List<Long> positions = new ArrayList<>();
            for (Box box : range.boxes()) {
                box.forEachRun(holder, box, (at, unused, length) -> {
                    for (long i = 0; i < length; i++) {
                        positions.add(at + i);
                    }
                });
            }

            List<Long> expected = new ArrayList<>();
            for (long i = from; i < to; i++) {
                expected.add(i);
            }
            assertThat(positions).as("%s", range).isEqualTo(expected);
            assertThat(range.boxes()).hasSizeLessThanOrEqualTo(2 * rank - 1);
        }
    }

    @Test
    void aRangeOutsideItsBoxIsRefused() {
        assertThatThrownBy(() -> new PieceRange("t", new long[] {0}, new long[] {4}, 2, 5))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("t");
    }
}
