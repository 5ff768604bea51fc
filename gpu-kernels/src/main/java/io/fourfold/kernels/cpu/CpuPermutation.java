package io.fourfold.kernels.cpu;

import io.fourfold.kernels.tensor.Tensor;
import java.util.Arrays;

/**
 * Sorts (token, choice) slots by expert without comparing, and the index maps around an all-to-all: count, prefix sum,
 * position. Within an expert, slots keep their order.
 */
final class CpuPermutation {
    private CpuPermutation() {}

    static void countExperts(Tensor experts, Tensor counts) {
        CpuTensor e = Arguments.int32(experts, "experts", experts.elements());
        CpuTensor c = Arguments.int32(counts, "counts", counts.elements());
        int[] tally = tally(e, c.size());
        System.arraycopy(tally, 0, c.ints(), c.offset(), tally.length);
    }

    /** Slots per expert; dropped slots (-1) are not counted. */
    static int[] tally(CpuTensor experts, int expertCount) {
        int[] tally = new int[expertCount];
        for (int slot = 0; slot < experts.size(); slot++) {
            int expert = expert(experts, slot, expertCount);
            if (expert >= 0) {
                tally[expert]++;
            }
        }
        return tally;
    }

    static int expert(CpuTensor experts, int slot, int expertCount) {
        int expert = experts.ints()[experts.offset() + slot];
        if (expert < -1 || expert >= expertCount) {
            throw new IllegalArgumentException(
                    "slot " + slot + " has expert " + expert + ", expected -1 .. " + (expertCount - 1));
        }
        return expert;
    }

    static void build(Tensor experts, Tensor offsets, Tensor rowOfSlot, Tensor slotOfRow) {
        CpuTensor e = Arguments.int32(experts, "experts", experts.elements());
        CpuTensor starts = offsets(offsets);
        int expertCount = starts.size() - 1;
        int[] tally = tally(e, expertCount);
        int[] next = new int[expertCount];
        int row = 0;
        for (int expert = 0; expert < expertCount; expert++) {
            next[expert] = row;
            starts.ints()[starts.offset() + expert] = row;
            row += tally[expert];
        }
        starts.ints()[starts.offset() + expertCount] = row;
        Arguments.require(
                slotOfRow.elements() >= row, "slotOfRow " + slotOfRow + " is too short for " + row + " kept slots");
        place(e, next, rowOfSlot, slotOfRow);
    }

    static void buildPadded(Tensor experts, int capacity, Tensor offsets, Tensor rowOfSlot, Tensor slotOfRow) {
        CpuTensor e = Arguments.int32(experts, "experts", experts.elements());
        CpuTensor starts = offsets(offsets);
        int expertCount = starts.size() - 1;
        int[] tally = tally(e, expertCount);
        int[] next = new int[expertCount];
        for (int expert = 0; expert < expertCount; expert++) {
            if (tally[expert] > capacity) {
                throw new IllegalArgumentException(
                        "expert " + expert + " has " + tally[expert] + " slots, more than the capacity " + capacity);
            }
            next[expert] = expert * capacity;
            starts.ints()[starts.offset() + expert] = expert * capacity;
        }
        starts.ints()[starts.offset() + expertCount] = expertCount * capacity;
        Arguments.int32(slotOfRow, "slotOfRow", (long) expertCount * capacity);
        place(e, next, rowOfSlot, slotOfRow);
    }

    private static CpuTensor offsets(Tensor offsets) {
        CpuTensor starts = Arguments.int32(offsets, "offsets", offsets.elements());
        Arguments.require(starts.size() >= 2, "offsets need one element more than experts, got " + starts);
        return starts;
    }

    /** @param next the first free row of each expert */
    private static void place(CpuTensor experts, int[] next, Tensor rowOfSlot, Tensor slotOfRow) {
        CpuTensor rows = Arguments.int32(rowOfSlot, "rowOfSlot", experts.elements());
        CpuTensor slots = Arguments.int32(slotOfRow, "slotOfRow", slotOfRow.elements());
        Arrays.fill(slots.ints(), slots.offset(), slots.offset() + slots.size(), -1);
        for (int slot = 0; slot < experts.size(); slot++) {
            int expert = experts.ints()[experts.offset() + slot];
            int row = -1;
            if (expert >= 0) {
                row = next[expert]++;
                slots.ints()[slots.offset() + row] = slot;
            }
            rows.ints()[rows.offset() + slot] = row;
        }
    }

    static void transposeSegments(Tensor counts, Tensor offsets, Tensor sourceOfTarget, Tensor targetOfSource) {
        CpuTensor starts = offsets(offsets);
        int experts = starts.size() - 1;
        CpuTensor c = Arguments.int32(counts, "counts", counts.elements());
        Arguments.require(c.size() % experts == 0, "counts " + c + " for " + experts + " experts");
        int sources = c.size() / experts;
        int[] sourceStarts = prefix(c);
        CpuTensor toSource = Arguments.int32(sourceOfTarget, "sourceOfTarget", sourceStarts[c.size()]);
        CpuTensor toTarget = Arguments.int32(targetOfSource, "targetOfSource", sourceStarts[c.size()]);
        int target = 0;
        for (int expert = 0; expert < experts; expert++) {
            starts.ints()[starts.offset() + expert] = target;
            for (int source = 0; source < sources; source++) {
                int segment = source * experts + expert;
                for (int row = sourceStarts[segment]; row < sourceStarts[segment + 1]; row++) {
                    toSource.ints()[toSource.offset() + target] = row;
                    toTarget.ints()[toTarget.offset() + row] = target;
                    target++;
                }
            }
        }
        starts.ints()[starts.offset() + experts] = target;
    }

    private static int[] prefix(CpuTensor counts) {
        int[] starts = new int[counts.size() + 1];
        for (int i = 0; i < counts.size(); i++) {
            int count = counts.ints()[counts.offset() + i];
            Arguments.require(count >= 0, "segment " + i + " has a negative count: " + count);
            starts[i + 1] = Math.addExact(starts[i], count);
        }
        return starts;
    }
}
