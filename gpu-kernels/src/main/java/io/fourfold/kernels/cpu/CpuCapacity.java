package io.fourfold.kernels.cpu;

import io.fourfold.kernels.tensor.Tensor;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/** Drops the slots that an expert has no room for: the last ones, or those of the smallest priority. */
final class CpuCapacity {
    private CpuCapacity() {}

    static void drop(
            Tensor experts,
            @Nullable Tensor priority,
            int tokensPerGroup,
            int capacity,
            Tensor kept,
            Tensor keptCounts) {
        CpuTensor e = Arguments.int32(experts, "experts", experts.elements());
        CpuTensor counts = Arguments.int32(keptCounts, "keptCounts", keptCounts.elements());
        CpuTensor out = Arguments.int32(kept, "kept", e.elements());
        CpuTensor rank = priority == null ? null : Arguments.fp32(priority, "priority", e.elements());
        int tokens = e.shape().rows();
        Arguments.require(
                tokensPerGroup > 0 && tokens % tokensPerGroup == 0,
                tokens + " tokens do not divide into groups of " + tokensPerGroup);
        int[] keptTally = new int[counts.size()];
        int groupSlots = tokensPerGroup * e.shape().cols();
        for (int from = 0; from < e.size(); from += groupSlots) {
            dropInGroup(e, rank, from, from + groupSlots, capacity, out, keptTally);
        }
        System.arraycopy(keptTally, 0, counts.ints(), counts.offset(), keptTally.length);
    }

    private static void dropInGroup(
            CpuTensor experts,
            @Nullable CpuTensor priority,
            int from,
            int to,
            int capacity,
            CpuTensor out,
            int[] keptTally) {
        int[][] slotsOfExpert = slotsOfExpert(experts, from, to, keptTally.length);
        Arrays.fill(out.ints(), out.offset() + from, out.offset() + to, -1);
        for (int expert = 0; expert < slotsOfExpert.length; expert++) {
            int[] slots = slotsOfExpert[expert];
            if (slots.length > capacity && priority != null) {
                sortByPriority(slots, priority);
            }
            int keep = Math.min(slots.length, capacity);
            for (int i = 0; i < keep; i++) {
                out.ints()[out.offset() + slots[i]] = expert;
            }
            keptTally[expert] += keep;
        }
    }

    private static int[][] slotsOfExpert(CpuTensor experts, int from, int to, int expertCount) {
        int[] tally = new int[expertCount];
        for (int slot = from; slot < to; slot++) {
            int expert = CpuPermutation.expert(experts, slot, expertCount);
            if (expert >= 0) {
                tally[expert]++;
            }
        }
        int[][] slots = new int[expertCount][];
        Arrays.setAll(slots, expert -> new int[tally[expert]]);
        Arrays.fill(tally, 0);
        for (int slot = from; slot < to; slot++) {
            int expert = experts.ints()[experts.offset() + slot];
            if (expert >= 0) {
                slots[expert][tally[expert]++] = slot;
            }
        }
        return slots;
    }

    /** Largest priority first, equal ones by ascending slot. Sorts one long per slot: priority above, slot below. */
    private static void sortByPriority(int[] slots, CpuTensor priority) {
        long[] keys = new long[slots.length];
        for (int i = 0; i < slots.length; i++) {
            float value = priority.floats()[priority.offset() + slots[i]] + 0f;
            int bits = Float.floatToIntBits(value);
            int ascending = bits >= 0 ? bits : bits ^ 0x7fffffff;
            keys[i] = ((long) ~ascending << 32) | slots[i];
        }
        Arrays.sort(keys);
        for (int i = 0; i < slots.length; i++) {
            slots[i] = (int) keys[i];
        }
    }
}
