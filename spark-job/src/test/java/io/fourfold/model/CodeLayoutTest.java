package io.fourfold.model;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.kernels.op.WeightCodeOps;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.model.CodeLayout.Part;
import io.fourfold.model.CodeLayout.Range;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

class CodeLayoutTest {
    private static CodeLayout.Weight weight(String name, long offset, int... dims) {
        return new CodeLayout.Weight(name, offset, Shape.of(dims));
    }

    /** 10 elements, then two matrices of 32 x 16, 6 elements, and one of 16 x 32: 1552 elements over 4 ranks, 388 each. */
    private static CodeLayout example() {
        return CodeLayout.of(List.of(weight("a", 10, 2, 32, 16), weight("b", 1040, 16, 32)), 1552, 4);
    }

    @Test
    void theRankOfItsFirstElementCodesAStrip() {
        // Strips of a begin at 10, 266, 522, 778; that of b at 1040.
        CodeLayout layout = example();
        assertThat(layout.exact()).containsExactly(new Range(0, 10), new Range(1034, 1040));
        assertThat(layout.count()).isEqualTo(3);
        assertThat(starts(layout, 0)).containsExactly(10L, 266L);
        assertThat(starts(layout, 1)).containsExactly(522L);
        assertThat(starts(layout, 2)).containsExactly(778L, 1040L);
        assertThat(layout.parts(3)).isEmpty();
        int a = WeightCodeOps.stripWords(16);
        assertThat(layout.wordCounts()).containsExactly(2 * a, a, a + WeightCodeOps.stripWords(32), 0);
    }

    @Test
    void whatOthersUpdateOfAStripGoesToTheRankThatCodesIt() {
        CodeLayout layout = example();
        assertThat(layout.tail(0)).isEqualTo(Range.NONE);
        assertThat(layout.tail(1)).isEqualTo(new Range(388, 522));
        assertThat(layout.tail(2)).isEqualTo(new Range(776, 778));
        assertThat(layout.tail(3)).isEqualTo(new Range(1164, 1552));
        assertThat(layout.tailsTo(1)).containsExactly(134, 0, 0, 0);
        assertThat(layout.tailsFrom(0)).containsExactly(0, 134, 0, 0);
        assertThat(layout.tailsTo(3)).containsExactly(0, 0, 388, 0);
        assertThat(layout.hasTails()).isTrue();
    }

    @Test
    void aStripMayLieOnMoreThanTwoRanks() {
        CodeLayout layout = CodeLayout.of(List.of(weight("a", 0, 16, 64)), 1024, 8);
        assertThat(layout.parts(0)).hasSize(1);
        assertThat(layout.tailsFrom(0)).containsExactly(0, 128, 128, 128, 128, 128, 128, 128);
        for (int rank = 1; rank < 8; rank++) {
            assertThat(layout.parts(rank)).isEmpty();
            assertThat(layout.tailsTo(rank)[0]).isEqualTo(128);
        }
    }

    @Test
    void boundsAreThoseOfEachMatrix() {
        CodeLayout layout = example();
        assertThat(layout.ownBounds(0)).containsExactly(10, 388);
        assertThat(layout.ownBounds(1)).containsExactly(388, 522, 522, 776);
        assertThat(layout.ownBounds(2)).containsExactly(776, 1034, 1040, 1164);
        assertThat(layout.ownBounds(3)).containsExactly(1164, 1552);
        assertThat(new int[] {layout.firstOwn(0), layout.firstOwn(1), layout.firstOwn(2), layout.firstOwn(3)})
                .containsExactly(0, 0, 1, 2);
    }

    @Test
    void matricesWithoutWholeTilesTravelAsTheyAre() {
        CodeLayout layout = CodeLayout.of(List.of(weight("a", 0, 24, 16), weight("b", 384, 16, 24)), 768, 2);
        assertThat(layout.words()).isZero();
        assertThat(layout.exact()).containsExactly(new Range(0, 768));
        assertThat(layout.hasTails()).isFalse();
    }

    /** Everything is sent once: as it is or coded, and every element of a matrix counts for its scale. */
    @Test
    void nothingIsLeftOutAndNothingSentTwice() {
        Random random = new Random(4);
        for (int trial = 0; trial < 300; trial++) {
            int ranks = 1 + random.nextInt(9);
            List<CodeLayout.Weight> weights = new ArrayList<>();
            long at = random.nextInt(40);
            for (int i = random.nextInt(5); i >= 0; i--) {
                Shape shape =
                        Shape.of(1 + random.nextInt(3), 16 * (1 + random.nextInt(3)), 16 * (1 + random.nextInt(4)));
                weights.add(new CodeLayout.Weight("w" + i, at, shape));
                at += shape.elements() + random.nextInt(3) * 7L;
            }
            long elements = ParameterStore.padded(at, ranks);
            CodeLayout layout = CodeLayout.of(weights, elements, ranks);
            int[] seen = new int[(int) elements];
            layout.exact().forEach(range -> mark(seen, range.from(), range.to(), 1));
            long word = 0;
            for (int rank = 0; rank < ranks; rank++) {
                long end = elements / ranks * (rank + 1);
                for (Part part : layout.parts(rank)) {
                    assertThat(part.firstWord()).isEqualTo(word);
                    word += part.words();
                    long strips = (long) part.strips() * 16 * part.of().cols();
                    mark(seen, part.offset(), part.offset() + strips, 1);
                    end = Math.max(end, part.offset() + strips);
                }
                long behind = end - elements / ranks * (rank + 1);
                assertThat(Arrays.stream(layout.tailsFrom(rank)).sum()).isEqualTo(behind);
            }
            assertThat(word).isEqualTo(layout.words());
            assertThat(seen).containsOnly(1);
            int matrix = 0;
            for (int rank = 0; rank < ranks; rank++) {
                long[] bounds = layout.ownBounds(rank);
                for (int i = 0; i < bounds.length; i += 2) {
                    mark(seen, bounds[i], bounds[i + 1], 2);
                }
                if (bounds.length > 0) {
                    assertThat(layout.firstOwn(rank)).isBetween(matrix - 1, matrix);
                    matrix = layout.firstOwn(rank) + bounds.length / 2;
                }
            }
            assertThat(matrix).isEqualTo(layout.count());
            layout.exact().forEach(range -> mark(seen, range.from(), range.to(), 2));
            assertThat(seen).containsOnly(3);
        }
    }

    private static List<Long> starts(CodeLayout layout, int rank) {
        List<Long> starts = new ArrayList<>();
        for (Part part : layout.parts(rank)) {
            for (int strip = 0; strip < part.strips(); strip++) {
                starts.add(part.offset() + 16L * strip * part.of().cols());
            }
        }
        return starts;
    }

    private static void mark(int[] seen, long from, long to, int by) {
        for (long i = from; i < to; i++) {
            seen[(int) i] += by;
        }
    }
}
