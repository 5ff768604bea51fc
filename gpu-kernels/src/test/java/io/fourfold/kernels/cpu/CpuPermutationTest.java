package io.fourfold.kernels.cpu;

import static io.fourfold.kernels.cpu.OperationFixture.assertClose;
import static io.fourfold.kernels.cpu.OperationFixture.doubles;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.kernels.op.MoeOps;
import io.fourfold.kernels.tensor.DType;
import java.util.Arrays;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

final class CpuPermutationTest {
    private final OperationFixture fixture = new OperationFixture(5);
    private final MoeOps ops = fixture.backend.moe();

    @AfterEach
    void close() {
        fixture.close();
    }

    /** Random experts, about one in five slots dropped. */
    private int[] experts(int slots, int experts) {
        return fixture.random
                .ints(slots, -Math.max(1, experts / 4), experts)
                .map(e -> Math.max(e, -1))
                .toArray();
    }

    @ParameterizedTest
    @CsvSource({"0, 1, 3", "1, 1, 1", "17, 2, 5", "64, 8, 16", "9, 3, 40"})
    void sortsStablyByExpert(int tokens, int k, int expertCount) {
        int[] chosen = experts(tokens * k, expertCount);
        CpuTensor e = fixture.ints(chosen, tokens, k);
        CpuTensor offsets = fixture.empty(DType.INT32, expertCount + 1);
        CpuTensor rowOfSlot = fixture.empty(DType.INT32, tokens * k);
        CpuTensor slotOfRow = fixture.empty(DType.INT32, tokens * k + 2);
        ops.buildPermutation(e, offsets, rowOfSlot, slotOfRow);

        int[] sorted = IntStream.range(0, chosen.length)
                .filter(slot -> chosen[slot] >= 0)
                .boxed()
                .sorted((a, b) -> Integer.compare(chosen[a], chosen[b]))
                .mapToInt(Integer::intValue)
                .toArray();
        int[] expected = Arrays.copyOf(sorted, chosen.length + 2);
        Arrays.fill(expected, sorted.length, expected.length, -1);
        assertThat(fixture.read(slotOfRow)).isEqualTo(expected);
        int[] rows = fixture.read(rowOfSlot);
        for (int slot = 0; slot < chosen.length; slot++) {
            assertThat(rows[slot]).isEqualTo(chosen[slot] < 0 ? -1 : indexOf(sorted, slot));
        }
        int[] starts = fixture.read(offsets);
        for (int expert = 0; expert <= expertCount; expert++) {
            int bound = expert;
            assertThat(starts[expert]).isEqualTo((int)
                    Arrays.stream(chosen).filter(c -> c >= 0 && c < bound).count());
        }
        CpuTensor counts = fixture.empty(DType.INT32, expertCount);
        ops.countExperts(e, counts);
        assertThat(fixture.read(counts))
                .isEqualTo(IntStream.range(0, expertCount)
                        .map(i -> starts[i + 1] - starts[i])
                        .toArray());
    }

    private static int indexOf(int[] values, int value) {
        return IntStream.range(0, values.length)
                .filter(i -> values[i] == value)
                .findFirst()
                .orElseThrow();
    }

    @Test
    void padsEveryExpertToCapacity() {
        CpuTensor e = fixture.ints(new int[] {2, 0, -1, 2, 0, 2}, 3, 2);
        CpuTensor offsets = fixture.empty(DType.INT32, 4);
        CpuTensor rowOfSlot = fixture.empty(DType.INT32, 6);
        CpuTensor slotOfRow = fixture.empty(DType.INT32, 9);
        ops.buildPaddedPermutation(e, 3, offsets, rowOfSlot, slotOfRow);
        assertThat(fixture.read(offsets)).containsExactly(0, 3, 6, 9);
        assertThat(fixture.read(rowOfSlot)).containsExactly(6, 0, -1, 7, 1, 8);
        assertThat(fixture.read(slotOfRow)).containsExactly(1, 4, -1, -1, -1, -1, 0, 3, 5);
        CpuTensor short2 = fixture.empty(DType.INT32, 6);
        assertThatThrownBy(() -> ops.buildPaddedPermutation(e, 2, offsets, rowOfSlot, short2))
                .hasMessageContaining("expert 2 has 3 slots, more than the capacity 2");
    }

    @Test
    void dropsTheLastOrTheLeastImportantSlots() {
        int[] chosen = {0, 1, 0, 1, 0, 2, /* second group */ 1, 0, 1, 0, -1, 0};
        CpuTensor e = fixture.ints(chosen, 6, 2);
        CpuTensor kept = fixture.empty(DType.INT32, 6, 2);
        CpuTensor counts = fixture.empty(DType.INT32, 3);
        ops.dropOverCapacity(e, null, 3, 2, kept, counts);
        assertThat(fixture.read(kept)).containsExactly(0, 1, 0, 1, -1, 2, 1, 0, 1, 0, -1, -1);
        assertThat(fixture.read(counts)).containsExactly(4, 4, 1);

        float[] priorities = {.1f, .5f, .3f, .5f, .3f, .9f, -1f, 0f, -0.5f, -0f, 1f, -0.1f};
        CpuTensor priority = fixture.floats(priorities, 6, 2);
        ops.dropOverCapacity(e, priority, 3, 2, kept, counts);
        assertThat(fixture.read(kept)).containsExactly(-1, 1, 0, 1, 0, 2, 1, 0, 1, 0, -1, -1);
        ops.dropOverCapacity(e, priority, 6, 1, e, counts);
        assertThat(fixture.read(e)).containsExactly(-1, 1, 0, -1, -1, 2, -1, -1, -1, -1, -1, -1);
        assertThat(fixture.read(counts)).containsExactly(1, 1, 1);
    }

    /** Against a count, for each slot, of the slots of its expert and group that go before it. */
    @ParameterizedTest
    @CsvSource({"12, 2, 3, 4, 2", "8, 1, 5, 8, 1", "30, 3, 4, 10, 5", "6, 2, 3, 2, 0", "0, 2, 3, 1, 1"})
    void keepsExactlyTheFirstOfEachExpert(int tokens, int k, int expertCount, int tokensPerGroup, int capacity) {
        int[] chosen = experts(tokens * k, expertCount);
        // Few different priorities, so that there are ties.
        float[] priorities = new float[tokens * k];
        for (int i = 0; i < priorities.length; i++) {
            priorities[i] = fixture.random.nextInt(4) - 2;
        }
        CpuTensor kept = fixture.empty(DType.INT32, tokens, k);
        CpuTensor counts = fixture.empty(DType.INT32, expertCount);
        ops.dropOverCapacity(
                fixture.ints(chosen, tokens, k),
                fixture.floats(priorities, tokens, k),
                tokensPerGroup,
                capacity,
                kept,
                counts);
        int[] expected = new int[tokens * k];
        int[] expectedCounts = new int[expertCount];
        for (int slot = 0; slot < expected.length; slot++) {
            int group = slot / (tokensPerGroup * k);
            int before = 0;
            for (int other = group * tokensPerGroup * k; other < (group + 1) * tokensPerGroup * k; other++) {
                boolean first =
                        priorities[other] > priorities[slot] || (priorities[other] == priorities[slot] && other < slot);
                before += chosen[other] == chosen[slot] && first ? 1 : 0;
            }
            expected[slot] = chosen[slot] >= 0 && before < capacity ? chosen[slot] : -1;
            if (expected[slot] >= 0) {
                expectedCounts[expected[slot]]++;
            }
        }
        assertThat(fixture.read(kept)).isEqualTo(expected);
        assertThat(fixture.read(counts)).isEqualTo(expectedCounts);
    }

    @Test
    void transposesSegments() {
        // Source 0 sends 2 rows of expert 0 and 1 of expert 1; source 1 sends 0 and 3; source 2 sends 1 and 0.
        CpuTensor counts = fixture.ints(new int[] {2, 1, 0, 3, 1, 0}, 3, 2);
        CpuTensor offsets = fixture.empty(DType.INT32, 3);
        CpuTensor sourceOfTarget = fixture.empty(DType.INT32, 7);
        CpuTensor targetOfSource = fixture.empty(DType.INT32, 7);
        ops.transposeSegments(counts, offsets, sourceOfTarget, targetOfSource);
        assertThat(fixture.read(offsets)).containsExactly(0, 3, 7);
        assertThat(fixture.read(sourceOfTarget)).containsExactly(0, 1, 6, 2, 3, 4, 5);
        assertThat(fixture.read(targetOfSource)).containsExactly(0, 1, 3, 4, 5, 6, 2);
    }

    @ParameterizedTest
    @CsvSource({"FP32, 0, 1", "FP32, 13, 2", "BF16, 8, 3"})
    void gatherAndSumAreTransposes(DType dtype, int tokens, int k) {
        int width = 5;
        int[] chosen = experts(tokens * k, 4);
        CpuTensor offsets = fixture.empty(DType.INT32, 5);
        CpuTensor rowOfSlot = fixture.empty(DType.INT32, tokens * k);
        CpuTensor slotOfRow = fixture.empty(DType.INT32, tokens * k);
        ops.buildPermutation(fixture.ints(chosen, tokens, k), offsets, rowOfSlot, slotOfRow);
        CpuTensor x = fixture.gaussian(dtype, 1, tokens, width);
        CpuTensor gathered = fixture.empty(dtype, tokens * k, width);
        ops.gatherRows(x, slotOfRow, k, gathered);
        int[] slots = fixture.read(slotOfRow);
        double[] expected = new double[tokens * k * width];
        for (int i = 0; i < expected.length; i++) {
            int slot = slots[i / width];
            expected[i] = slot < 0 ? 0 : doubles(x)[slot / k * width + i % width];
        }
        assertClose(gathered, expected, 0);

        CpuTensor summed = fixture.empty(dtype, tokens, width);
        ops.sumRows(gathered, rowOfSlot, k, summed);
        double[] sums = new double[tokens * width];
        for (int slot = 0; slot < tokens * k; slot++) {
            for (int c = 0; c < width; c++) {
                sums[slot / k * width + c] += chosen[slot] < 0 ? 0 : doubles(x)[slot / k * width + c];
            }
        }
        assertClose(summed, sums, OperationFixture.tolerance(dtype));
    }

    @Test
    void gathersIntegersAndChecksIndices() {
        CpuTensor x = fixture.ints(new int[] {1, 2, 3}, 3, 1);
        CpuTensor out = fixture.empty(DType.INT32, 4, 1);
        ops.gatherRows(x, fixture.ints(new int[] {2, -1, 0, 2}, 4), 1, out);
        assertThat(fixture.read(out)).containsExactly(3, 0, 1, 3);
        CpuTensor wrong = fixture.ints(new int[] {3, -1, 0, 2}, 4);
        assertThatThrownBy(() -> ops.gatherRows(x, wrong, 1, out)).hasMessageContaining("row index 3 outside");
        CpuTensor bad = fixture.ints(new int[] {7}, 1);
        assertThatThrownBy(() -> ops.countExperts(bad, out)).hasMessageContaining("slot 0 has expert 7");
    }
}
