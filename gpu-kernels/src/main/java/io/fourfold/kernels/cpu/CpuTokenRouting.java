package io.fourfold.kernels.cpu;

import io.fourfold.kernels.op.MoeOps;
import io.fourfold.kernels.op.RowPart;
import io.fourfold.kernels.tensor.Tensor;
import java.util.Arrays;

/** Ranks of tokens, and what travels beside a token that goes once to a rank; see {@link MoeOps#ranksOfSlots}. */
final class CpuTokenRouting {
    private CpuTokenRouting() {}

    static void ranksOfSlots(Tensor experts, int expertsPerRank, Tensor ranks, Tensor counts) {
        CpuTensor e = Arguments.int32(experts, "experts", experts.elements());
        CpuTensor of = Arguments.int32(ranks, "ranks", e.elements());
        CpuTensor tally = Arguments.int32(counts, "counts", counts.elements());
        int k = e.shape().cols();
        int rankCount = tally.size() / 2;
        int[] to = tally.ints();
        Arrays.fill(to, tally.offset(), tally.offset() + tally.size(), 0);
        int[] lastToken = new int[rankCount];
        Arrays.fill(lastToken, -1);
        for (int slot = 0; slot < e.size(); slot++) {
            int expert = CpuPermutation.expert(e, slot, rankCount * expertsPerRank);
            int rank = expert < 0 ? -1 : expert / expertsPerRank;
            boolean first = rank >= 0 && lastToken[rank] != slot / k;
            if (rank >= 0) {
                lastToken[rank] = slot / k;
                to[tally.offset() + 2 * rank] += first ? 1 : 0;
                to[tally.offset() + 2 * rank + 1]++;
            }
            of.ints()[of.offset() + slot] = first ? rank : -1;
        }
    }

    static void partOfSlots(Tensor offsets, Tensor slotOfRow, int from, int to, RowPart part) {
        CpuTensor starts = Arguments.int32(offsets, "offsets", offsets.elements());
        int experts = starts.size() - 1;
        CpuTensor slots = Arguments.int32(slotOfRow, "slotOfRow", slotOfRow.elements());
        CpuTensor begins = Arguments.int32(part.begins(), "begins", experts);
        CpuTensor ends = Arguments.int32(part.ends(), "ends", experts);
        for (int e = 0; e < experts; e++) {
            int row = starts.ints()[starts.offset() + e];
            int end = starts.ints()[starts.offset() + e + 1];
            while (row < end && slots.ints()[slots.offset() + row] < from) {
                row++;
            }
            begins.ints()[begins.offset() + e] = row;
            while (row < end && slots.ints()[slots.offset() + row] < to) {
                row++;
            }
            ends.ints()[ends.offset() + e] = row;
        }
    }

    static void pack(Tensor experts, Tensor weights, Tensor rowIds, Tensor slotOfRow, Tensor packed) {
        CpuTensor e = Arguments.int32(experts, "experts", experts.elements());
        int k = e.shape().cols();
        CpuTensor w = Arguments.fp32(weights, "weights", e.elements());
        CpuTensor ids = Arguments.int32(rowIds, "rowIds", e.elements() / k);
        CpuTensor slots = Arguments.int32(slotOfRow, "slotOfRow", slotOfRow.elements());
        CpuTensor out = Arguments.int32(packed, "packed", slots.elements() * (2L * k + 1));
        for (int row = 0; row < slots.size(); row++) {
            int token = slots.ints()[slots.offset() + row] / k;
            int to = out.offset() + row * (2 * k + 1);
            System.arraycopy(e.ints(), e.offset() + token * k, out.ints(), to, k);
            for (int j = 0; j < k; j++) {
                out.ints()[to + k + j] = Float.floatToRawIntBits(w.floats()[w.offset() + token * k + j]);
            }
            out.ints()[to + 2 * k] = ids.ints()[ids.offset() + token];
        }
    }

    static void unpack(
            Tensor packed, int firstExpert, int localExperts, Tensor experts, Tensor weights, Tensor rowIds) {
        CpuTensor ids = Arguments.int32(rowIds, "rowIds", rowIds.elements());
        int rows = ids.size();
        CpuTensor e = Arguments.int32(experts, "experts", experts.elements());
        int k = e.shape().cols();
        Arguments.int32(experts, "experts", (long) rows * k);
        CpuTensor w = Arguments.fp32(weights, "weights", e.elements());
        CpuTensor in = Arguments.int32(packed, "packed", rows * (2L * k + 1));
        for (int row = 0; row < rows; row++) {
            int from = in.offset() + row * (2 * k + 1);
            for (int j = 0; j < k; j++) {
                int local = in.ints()[from + j] - firstExpert;
                boolean here = in.ints()[from + j] >= 0 && local >= 0 && local < localExperts;
                e.ints()[e.offset() + row * k + j] = here ? local : -1;
                w.floats()[w.offset() + row * k + j] = Float.intBitsToFloat(in.ints()[from + k + j]);
            }
            ids.ints()[ids.offset() + row] = in.ints()[from + 2 * k];
        }
    }
}
