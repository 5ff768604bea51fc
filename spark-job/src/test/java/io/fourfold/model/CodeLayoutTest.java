package io.fourfold.model;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.kernels.op.WeightCodeOps;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.model.CodeLayout.MatrixRange;
import io.fourfold.model.CodeLayout.Part;
import io.fourfold.model.CodeLayout.Range;
import io.fourfold.model.CodeLayout.Tail;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

class CodeLayoutTest {
    private static final List<String> NAMES = List.of("w0", "w1", "w2", "w3", "w4");

    private static CodeLayout.Weight weight(String name, long offset, int... dims) {
        return new CodeLayout.Weight(name, offset, Shape.of(dims));
    }

    /** 10 elements, then two matrices of 32 x 16, 6 elements, and one of 16 x 32: 1552 elements over 4 ranks, 388 each. */
    private static CodeLayout example() {
        return CodeLayout.of(
                List.of(weight("a", 10, 2, 32, 16), weight("b", 1040, 16, 32)), Sharding.contiguous(1552, 4));
    }

    /** The same with more padding, in buckets of 400 elements: slices of 100. */
    private static CodeLayout inBuckets() {
        return CodeLayout.of(List.of(weight("a", 10, 2, 32, 16), weight("b", 1040, 16, 32)), Sharding.of(1600, 4, 400));
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
        assertThat(layout.wordCounts(0)).containsExactly(2 * a, a, a + WeightCodeOps.stripWords(32), 0);
    }

    @Test
    void whatOthersUpdateOfAStripGoesToTheRankThatCodesIt() {
        CodeLayout layout = example();
        assertThat(layout.tailsFrom(0)).isEmpty();
        assertThat(layout.tailsFrom(1)).containsExactly(new Tail(new Range(388, 522), 1, 0));
        assertThat(layout.tailsFrom(2)).containsExactly(new Tail(new Range(776, 778), 2, 1));
        assertThat(layout.tailsFrom(3)).containsExactly(new Tail(new Range(1164, 1552), 3, 2));
        assertThat(layout.tailsTo(0)).isEqualTo(layout.tailsFrom(1));
        assertThat(layout.tailsTo(3)).isEmpty();
        assertThat(layout.hasTails()).isTrue();
    }

    @Test
    void slicesOfSeveralBucketsHaveTheirOwnStripsAndTails() {
        // Strips begin at 10 (rank 0), 266 (2), 522 (1), 778 (3) and 1040 (2: slice 1000 to 1100).
        CodeLayout layout = inBuckets();
        assertThat(starts(layout, 0)).containsExactly(10L);
        assertThat(starts(layout, 1)).containsExactly(522L);
        assertThat(starts(layout, 2)).containsExactly(266L, 1040L);
        assertThat(starts(layout, 3)).containsExactly(778L);
        int a = WeightCodeOps.stripWords(16);
        int b = WeightCodeOps.stripWords(32);
        assertThat(layout.wordCounts(0)).containsExactly(a, 0, a, 0);
        assertThat(layout.wordCounts(1)).containsExactly(0, a, 0, a);
        assertThat(layout.wordCounts(2)).containsExactly(0, 0, b, 0);
        assertThat(layout.wordCounts(3)).containsOnly(0);
        assertThat(layout.firstWord(1)).isEqualTo(2 * a);
        assertThat(layout.firstWord(2)).isEqualTo(4 * a);
        assertThat(layout.firstWord(3)).isEqualTo(4 * a + b);
        // Rank 2 has the beginning of b, and a later part of it that it need not send.
        assertThat(layout.tailsTo(2))
                .containsExactly(
                        new Tail(new Range(400, 500), 0, 2),
                        new Tail(new Range(1200, 1300), 0, 2),
                        new Tail(new Range(500, 522), 1, 2),
                        new Tail(new Range(1300, 1400), 1, 2),
                        new Tail(new Range(300, 400), 3, 2),
                        new Tail(new Range(1100, 1200), 3, 2),
                        new Tail(new Range(1500, 1552), 3, 2));
    }

    @Test
    void aStripMayLieOnMoreThanTwoRanks() {
        CodeLayout layout = CodeLayout.of(List.of(weight("a", 0, 16, 64)), Sharding.contiguous(1024, 8));
        assertThat(layout.parts(0)).hasSize(1);
        assertThat(layout.tailsTo(0)).hasSize(7);
        for (int rank = 1; rank < 8; rank++) {
            assertThat(layout.parts(rank)).isEmpty();
            assertThat(layout.tailsFrom(rank))
                    .containsExactly(new Tail(new Range(128L * rank, 128L * (rank + 1)), rank, 0));
        }
    }

    @Test
    void rangesAreThoseOfEachMatrix() {
        CodeLayout layout = example();
        assertThat(layout.ownRanges(0)).containsExactly(range(0, 10, 388));
        assertThat(layout.ownRanges(1)).containsExactly(range(0, 388, 522), range(1, 522, 776));
        assertThat(layout.ownRanges(2)).containsExactly(range(1, 776, 1034), range(2, 1040, 1164));
        assertThat(layout.ownRanges(3)).containsExactly(range(2, 1164, 1552));
        assertThat(inBuckets().ownRanges(1))
                .containsExactly(
                        range(0, 100, 200),
                        range(0, 500, 522),
                        range(1, 522, 600),
                        range(1, 900, 1000),
                        range(2, 1300, 1400));
    }

    private static MatrixRange range(int matrix, long from, long to) {
        return new MatrixRange(matrix, new Range(from, to));
    }

    @Test
    void matricesWithoutWholeTilesTravelAsTheyAre() {
        CodeLayout layout =
                CodeLayout.of(List.of(weight("a", 0, 24, 16), weight("b", 384, 16, 24)), Sharding.contiguous(768, 2));
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
            long largest = random.nextBoolean() ? elements : 1 + random.nextLong(elements);
            Sharding sharding = Sharding.of(elements, ranks, largest);
            CodeLayout layout = CodeLayout.of(weights, sharding);
            int[] seen = new int[(int) elements];
            layout.exact().forEach(range -> mark(seen, range.from(), range.to(), 1));
            for (int rank = 0; rank < ranks; rank++) {
                for (Part part : layout.parts(rank)) {
                    long strips = (long) part.strips() * 16 * part.of().cols();
                    mark(seen, part.offset(), part.offset() + strips, 1);
                    assertThat(sharding.owner(part.offset())).isEqualTo(rank);
                }
                checkTails(layout, rank);
                for (MatrixRange own : layout.ownRanges(rank)) {
                    assertThat(own.matrix())
                            .isEqualTo(matrixOf(layout, own.range().from()));
                    assertThat(own.matrix())
                            .isEqualTo(matrixOf(layout, own.range().to() - 1));
                    mark(seen, own.range().from(), own.range().to(), 2);
                }
            }
            layout.exact().forEach(range -> mark(seen, range.from(), range.to(), 2));
            assertThat(seen).containsOnly(3);
            checkWords(layout);
        }
    }

    /** What a rank codes is what it updates, and the tails it is sent. */
    private static void checkTails(CodeLayout layout, int rank) {
        int[] needed = new int[(int) layout.sharding().elements()];
        layout.parts(rank)
                .forEach(part -> mark(
                        needed,
                        part.offset(),
                        part.offset() + 16L * part.strips() * part.of().cols(),
                        1));
        for (int i = 0; i < needed.length; i++) {
            needed[i] = needed[i] == 1 && layout.sharding().owner(i) != rank ? 1 : 0;
        }
        for (Tail tail : layout.tailsTo(rank)) {
            assertThat(layout.tailsFrom(tail.from())).contains(tail);
            assertThat(layout.sharding().owner(tail.range().from())).isEqualTo(tail.from());
            assertThat(layout.sharding().owner(tail.range().to() - 1)).isEqualTo(tail.from());
            mark(needed, tail.range().from(), tail.range().to(), -1);
        }
        assertThat(needed).containsOnly(0);
    }

    /** Words are in the order of buckets, ranks and strips, without gaps. */
    private static void checkWords(CodeLayout layout) {
        Sharding sharding = layout.sharding();
        long word = 0;
        for (int bucket = 0; bucket < sharding.buckets(); bucket++) {
            assertThat(layout.firstWord(bucket)).isEqualTo(word);
            for (int rank = 0; rank < sharding.ranks(); rank++) {
                Sharding.Slice slice = sharding.slice(bucket, rank);
                long before = word;
                for (Part part : layout.parts(rank)) {
                    if (part.offset() >= slice.from() && part.offset() < slice.to()) {
                        assertThat(part.firstWord()).isEqualTo(word);
                        word += part.words();
                    }
                }
                assertThat(layout.wordCounts(bucket)[rank]).isEqualTo(word - before);
            }
        }
        assertThat(word).isEqualTo(layout.words());
    }

    /** Place of the matrix that has an element. */
    private static int matrixOf(CodeLayout layout, long element) {
        for (String name : NAMES) {
            CodeLayout.Matrices of = layout.of(name);
            if (of != null && element >= of.offset() && element < of.end()) {
                return of.first() + (int) ((element - of.offset()) / ((long) of.rows() * of.cols()));
            }
        }
        throw new AssertionError("element " + element + " belongs to no matrix");
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
