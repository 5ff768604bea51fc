package io.fourfold.kernels.tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.kernels.tensor.LentMemory.Range;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** Gradients of three layers in one buffer, reclaimed from the last to the first, and an embedding elsewhere. */
class LentMemoryTest {
    private static final int ALIGNMENT = 8;

    private static LentMemory layers() {
        return new LentMemory(
                List.of(
                        new Range("layer 2", 1200, 100),
                        new Range("layer 1", 1100, 100),
                        new Range("layer 0", 1000, 100),
                        new Range("embedding", 8000, 64)),
                ALIGNMENT);
    }

    @Test
    void activationsLieLowAndWorkspaceHigh() {
        LentMemory memory = layers();
        assertThat(memory.take(48, 0, Region.ACTIVATIONS)).isEqualTo(8000);
        assertThat(memory.take(48, 3, Region.ACTIVATIONS)).isEqualTo(LentMemory.NONE);
        assertThat(memory.take(16, 3, Region.ACTIVATIONS)).isEqualTo(8048);
        assertThat(memory.take(32, 2, Region.ACTIVATIONS)).isEqualTo(1000);
        assertThat(memory.take(32, 1, Region.ACTIVATIONS)).isEqualTo(1032);
        assertThat(memory.take(130, 0, Region.WORKSPACE)).isEqualTo(1160);
        assertThat(memory.take(40, 1, Region.WORKSPACE)).isEqualTo(1120);
        assertThat(memory.take(1, memory.never(), Region.ACTIVATIONS)).isEqualTo(LentMemory.NONE);
        assertThat(memory.used()).isEqualTo(48 + 16 + 32 + 32 + 136 + 40);
    }

    @Test
    void rangesThatTouchAreOneMemory() {
        LentMemory memory = layers();
        assertThat(memory.take(240, 0, Region.WORKSPACE)).isBetween(1000L, 1300L - 240);
        assertThat(memory.take(160, 1, Region.WORKSPACE)).isEqualTo(LentMemory.NONE);
    }

    @Test
    void refusesToReclaimWhatIsInUse() {
        LentMemory memory = layers();
        long full = memory.take(64, 3, Region.ACTIVATIONS);
        memory.reclaim(0);
        long low = memory.take(96, 1, Region.ACTIVATIONS);
        long address = memory.take(40, 1, Region.ACTIVATIONS);
        assertThatThrownBy(() -> memory.reclaim(1))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContainingAll("layer 1", "40 bytes", "ACTIVATIONS");
        memory.release(address);
        memory.release(low);
        memory.reclaim(1);
        assertThat(memory.take(40, 0, Region.ACTIVATIONS)).isEqualTo(1000);
        memory.release(full);
    }

    @Test
    void endsOnlyWhenNothingIsLent() {
        LentMemory memory = layers();
        long address = memory.take(1, 0, Region.WORKSPACE);
        assertThatThrownBy(memory::close).hasMessageContainingAll("1 pieces", "WORKSPACE");
        memory.release(address);
        memory.close();
        assertThatThrownBy(() -> memory.release(address)).isInstanceOf(IllegalArgumentException.class);
    }

    /** Pieces never overlap, lie where they may, and everything can be reclaimed in order when all keep their word. */
    @Test
    void randomLivesNeverCollide() {
        Random random = new Random(3);
        for (int round = 0; round < 50; round++) {
            List<Range> ranges = new ArrayList<>();
            long end = 100_000;
            for (int i = 0; i < 12; i++) {
                long size = 50 + random.nextInt(500);
                end -= size + (random.nextInt(4) == 0 ? 100 : 0);
                ranges.add(new Range("range " + i, end, size));
            }
            LentMemory memory = new LentMemory(ranges, ALIGNMENT);
            Map<Long, long[]> live = new HashMap<>();
            for (int next = 0; next < ranges.size(); next++) {
                for (int k = 0; k < 20; k++) {
                    int until = next + random.nextInt(ranges.size() - next + 1);
                    long size = 1 + random.nextInt(200);
                    long address = memory.take(size, until, k % 2 == 0 ? Region.ACTIVATIONS : Region.WORKSPACE);
                    if (address == LentMemory.NONE) {
                        continue;
                    }
                    assertThat(address % ALIGNMENT).isZero();
                    for (Map.Entry<Long, long[]> other : live.entrySet()) {
                        assertThat(address + size <= other.getKey() || other.getKey() + other.getValue()[0] <= address)
                                .isTrue();
                    }
                    live.put(address, new long[] {size, until});
                }
                int reclaimed = next;
                live.entrySet().removeIf(piece -> {
                    boolean due = piece.getValue()[1] <= reclaimed || random.nextInt(3) == 0;
                    if (due) {
                        memory.release(piece.getKey());
                    }
                    return due;
                });
                memory.reclaim(next);
            }
            live.keySet().forEach(memory::release);
            assertThat(memory.used()).isZero();
            memory.close();
        }
    }
}
