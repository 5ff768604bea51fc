package io.fourfold.kernels.cuda;

import io.fourfold.kernels.tensor.DType;
import org.jspecify.annotations.Nullable;

/** Stable counting sort of positions by a small key on the GPU; see permutation.cu. */
final class SlotSort {
    private static final String FILE = "permutation";
    private static final int CHUNK = 1024;
    private static final int DIGIT_BITS = 10;
    static final int MOST_BINS = 1 << DIGIT_BITS;

    private final CudaRuntime cuda;

    SlotSort(CudaRuntime cuda) {
        this.cuda = cuda;
    }

    /** By expert; -1 marks dropped slots. {@code capacity} > 0 pads every expert to that many rows. */
    void byExpert(CudaTensor experts, int capacity, CudaTensor offsets, CudaTensor rowOfSlot, CudaTensor slotOfRow) {
        int bins = Math.toIntExact(offsets.elements()) - 1;
        CudaArguments.require(bins >= 1, "offsets need one element more than experts, got " + offsets);
        cuda.memory().fillBytes(slotOfRow.address(), (byte) 0xFF, slotOfRow.bytes());
        pass(experts, null, 0, Integer.MAX_VALUE, bins, capacity, offsets, rowOfSlot, slotOfRow);
    }

    /** Writes the positions of {@code keys} (0 .. limit-1) in ascending order of key, equal keys by position. */
    void positions(CudaTensor keys, int limit, CudaTensor sorted) {
        try (CudaTensorScope work = cuda.workspace()) {
            CudaTensor[] buffers = {work.allocate(DType.INT32, keys.shape()), work.allocate(DType.INT32, keys.shape())};
            int bits = Math.max(1, 32 - Integer.numberOfLeadingZeros(limit - 1));
            int passes = CudaArguments.blocks(bits, DIGIT_BITS);
            CudaTensor order = null;
            for (int pass = 0; pass < passes; pass++) {
                CudaTensor next = pass == passes - 1 ? sorted : buffers[pass % 2];
                pass(keys, order, pass * DIGIT_BITS, MOST_BINS - 1, MOST_BINS, 0, null, null, next);
                order = next;
            }
        }
    }

    private void pass(
            CudaTensor keys,
            @Nullable CudaTensor order,
            int shift,
            int mask,
            int bins,
            int capacity,
            @Nullable CudaTensor offsets,
            @Nullable CudaTensor rowOfSlot,
            CudaTensor slotOfRow) {
        CudaArguments.require(bins <= MOST_BINS, "sorting into " + bins + " experts; at most " + MOST_BINS);
        int n = Math.toIntExact(keys.elements());
        int chunks = Math.max(1, CudaArguments.blocks(n, CHUNK));
        Object before = CudaFunction.orNull(order);
        try (CudaTensorScope work = cuda.workspace()) {
            CudaTensor counts = work.allocate(DType.INT32, bins, chunks);
            CudaTensor totals = work.allocate(DType.INT32, bins);
            cuda.function(FILE, "count_keys")
                    .launch(chunks, 1, 1, CHUNK, bins * 4, keys, before, n, shift, mask, bins, counts);
            cuda.function(FILE, "scan_chunks")
                    .launchLine(CudaArguments.blocks(bins, 8), 256, counts, chunks, bins, totals);
            cuda.function(FILE, "place_slots")
                    .launch(
                            chunks,
                            1,
                            1,
                            CHUNK,
                            (CHUNK + 32 * bins) * 4,
                            keys,
                            before,
                            n,
                            shift,
                            mask,
                            bins,
                            counts,
                            totals,
                            capacity,
                            CudaFunction.orNull(offsets),
                            CudaFunction.orNull(rowOfSlot),
                            slotOfRow);
        }
    }
}
