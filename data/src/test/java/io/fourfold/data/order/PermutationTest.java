package io.fourfold.data.order;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.BitSet;
import org.junit.jupiter.api.Test;

class PermutationTest {
    @Test
    void philoxEqualsTheReferenceVectors() {
        // Random123 distribution, kat_vectors, philox4x32 10.
        assertThat(Philox.block(0, 0, 0, 0, 0)).containsExactly(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8);
        assertThat(Philox.block(-1, -1, -1, -1, -1)).containsExactly(0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd);
        assertThat(Philox.block(0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0x299f31d0a4093822L))
                .containsExactly(0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1);
    }

    @Test
    void everySizeIsABijection() {
        for (int size = 1; size <= 700; size++) {
            assertThat(imageSize(new Permutation(size, 7, 1, size))).isEqualTo(size);
        }
        for (int size : new int[] {4095, 4096, 4097, 65537, 1_000_003}) {
            assertThat(imageSize(new Permutation(size, -5, 2, 3))).isEqualTo(size);
        }
    }

    private static int imageSize(Permutation permutation) {
        BitSet seen = new BitSet();
        long index = 0;
        while (true) {
            try {
                seen.set(Math.toIntExact(permutation.apply(index++)));
            } catch (IndexOutOfBoundsException e) {
                return seen.cardinality();
            }
        }
    }

    @Test
    void largeSizesStayInsideTheirRange() {
        long size = (1L << 40) + 12345;
        Permutation permutation = new Permutation(size, 1, 0, 0);
        for (long index = size - 1000; index < size; index++) {
            assertThat(permutation.apply(index)).isBetween(0L, size - 1);
        }
        assertThatThrownBy(() -> permutation.apply(size)).isInstanceOf(IndexOutOfBoundsException.class);
        assertThatThrownBy(() -> new Permutation(0, 1, 0, 0)).isInstanceOf(IllegalArgumentException.class);
    }

    @Test
    void seedStreamAndEpochEachChangeTheOrder() {
        long[] base = head(new Permutation(1000, 1, 0, 0));
        assertThat(head(new Permutation(1000, 1, 0, 0))).isEqualTo(base);
        assertThat(head(new Permutation(1000, 2, 0, 0))).isNotEqualTo(base);
        assertThat(head(new Permutation(1000, 1, 1, 0))).isNotEqualTo(base);
        assertThat(head(new Permutation(1000, 1, 0, 1))).isNotEqualTo(base);
        assertThat(head(new Permutation(1000, 1, 0, 1L << 32))).isNotEqualTo(base);
    }

    @Test
    void eachPlaceGetsEachElementEquallyOften() {
        int size = 10;
        int epochs = 20_000;
        int[][] counts = new int[size][size];
        for (int epoch = 0; epoch < epochs; epoch++) {
            Permutation permutation = new Permutation(size, 99, 0, epoch);
            for (int index = 0; index < size; index++) {
                counts[index][(int) permutation.apply(index)]++;
            }
        }
        double expected = (double) epochs / size;
        double chiSquare = 0;
        for (int[] row : counts) {
            for (int count : row) {
                chiSquare += (count - expected) * (count - expected) / expected;
            }
        }
        // 81 degrees of freedom, standard deviation sqrt(162) = 12.7.
        assertThat(chiSquare).isCloseTo(81, within(51.0));
    }

    private static long[] head(Permutation permutation) {
        long[] head = new long[20];
        for (int i = 0; i < head.length; i++) {
            head[i] = permutation.apply(i);
        }
        return head;
    }
}
