package io.fourfold.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.config.GradientConfig;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

class ShardingTest {
    @Test
    void everyElementHasOneOwnerAndOnePlaceInItsShard() {
        Random random = new Random(6);
        for (int trial = 0; trial < 500; trial++) {
            int ranks = 1 + random.nextInt(9);
            long elements = (long) ranks * random.nextInt(random.nextBoolean() ? 40 : 4000);
            Sharding sharding = Sharding.of(elements, ranks, 1 + random.nextInt(5000));
            int[] owners = new int[(int) elements];
            for (int rank = 0; rank < ranks; rank++) {
                long at = 0;
                long before = 0;
                for (Sharding.Slice slice : sharding.slices(rank)) {
                    assertThat(slice.at()).isEqualTo(at);
                    assertThat(slice.from()).isGreaterThanOrEqualTo(before);
                    assertThat(slice.end()).isEqualTo(at + slice.elements());
                    for (long i = slice.from(); i < slice.to(); i++) {
                        assertThat(sharding.owner(i)).isEqualTo(rank);
                        owners[(int) i]++;
                    }
                    at = slice.end();
                    before = slice.to();
                }
                assertThat(at).isEqualTo(sharding.shard());
            }
            assertThat(owners).doesNotContain(0, 2);
        }
    }

    /** So that the messages of many ranks are as large as those of two. */
    @Test
    void bucketsThatGoByRanksHaveSlicesOfOneSize() {
        for (int ranks : new int[] {2, 3, 4, 8, 64}) {
            Sharding sharding = Sharding.of(ranks * 100_000_000L, ranks, GradientConfig.BY_RANKS);
            assertThat(sharding.slice(0, 0).elements()).isBetween((16 << 20) * 8L / 10, 16L << 20);
        }
        assertThat(Sharding.of(6_000_000, 2, GradientConfig.BY_RANKS).buckets()).isOne();
    }

    @Test
    void aBucketIsTheEqualSlicesOfAllRanksInTheirOrder() {
        Random random = new Random(7);
        for (int trial = 0; trial < 500; trial++) {
            int ranks = 1 + random.nextInt(9);
            long elements = (long) ranks * (1 + random.nextInt(4000));
            long largest = ranks + random.nextInt(9000);
            Sharding sharding = Sharding.of(elements, ranks, largest);
            long end = 0;
            for (int bucket = 0; bucket < sharding.buckets(); bucket++) {
                assertThat(sharding.from(bucket)).isEqualTo(end);
                for (int rank = 0; rank < ranks; rank++) {
                    Sharding.Slice slice = sharding.slice(bucket, rank);
                    assertThat(slice.from()).isEqualTo(end);
                    assertThat(slice.elements())
                            .isEqualTo(sharding.slice(bucket, 0).elements())
                            .isPositive();
                    end = slice.to();
                }
                assertThat(sharding.to(bucket)).isEqualTo(end);
                assertThat(sharding.bucketOf(end - 1)).isEqualTo(bucket);
                if (ranks > 1) {
                    assertThat(end - sharding.from(bucket)).isLessThanOrEqualTo(largest);
                }
            }
            assertThat(end).isEqualTo(elements);
        }
    }

    @Test
    void slicesOfLargeBucketsBeginOnRowsOf128() {
        Sharding sharding = Sharding.of(3 * 16 * 1001, 3, 10_000);
        assertThat(sharding.buckets()).isEqualTo(5);
        assertThat(sharding.slice(1, 2)).isEqualTo(new Sharding.Slice(9984 + 2 * 3328, 2 * 9984, 3328));
        assertThat(sharding.slice(4, 2)).isEqualTo(new Sharding.Slice(4 * 9984 + 2 * 2704, 3 * 16_016, 4 * 3328));
    }

    @Test
    void noBucketIsMuchShorterThanTheOthers() {
        Sharding sharding = Sharding.of(3 * 16 * 1000, 2, 23_900);
        assertThat(sharding.buckets()).isEqualTo(3);
        assertThat(sharding.to(0)).isEqualTo(63 * 256);
        assertThat(sharding.to(2) - sharding.from(2)).isEqualTo(48_000 - 2 * 63 * 256);
    }

    @Test
    void oneRankAndLargeBucketsGiveOnePart() {
        List<Sharding.Slice> whole = List.of(new Sharding.Slice(0, 1000, 0));
        assertThat(Sharding.of(1000, 1, 10).slices(0)).isEqualTo(whole);
        assertThat(Sharding.of(1000, 4, 1000).slices(1)).containsExactly(new Sharding.Slice(250, 500, 0));
        assertThat(Sharding.contiguous(1000, 4).slices(3)).containsExactly(new Sharding.Slice(750, 1000, 0));
        assertThat(Sharding.contiguous(0, 4).slices(3)).isEmpty();
    }

    @Test
    void whatDoesNotDivideIsRefused() {
        assertThatThrownBy(() -> Sharding.of(10, 3, 5))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("10 elements do not split evenly over 3");
    }
}
