package io.fourfold.kernels.op;

import io.fourfold.kernels.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Names the random bits of one stochastically rounded tensor. Stateless: element (r, c) of the [T, C] source matrix uses
 * byte c % 16 of Philox4x32-10 with key = seed and counter = (c / 16, rowId(r), tensorId * 2 + copy, step), where copy
 * is 0 for the row operand and 1 for the column operand. So a replay after a restart, another device and another
 * placement of the rows on ranks all draw the same bits.
 *
 * <p>Key and counter words are listed lowest first; the key's are the low and the high half of the seed. Bytes count from
 * the lowest one of the first output word. An element keeps its (r, c) under a Hadamard transform; rows that exist only by
 * its padding, p = 0, 1, ... behind the last one, have row id -1 - p.
 *
 * @param seed the run's seed
 * @param step training step
 * @param tensorId unique per (layer, linear, expert) within the model, below 2^30; grouped operands add the global
 *     expert index of each group
 * @param rowIds INT32 [T] global row numbers (token position in the global batch); null = 0, 1, 2, ...
 * @param columnGroups INT32 [C / 16] for a matrix that holds some columns of a wider one: what stands for c / 16 in the
 *     counter; null = 0, 1, 2, ...
 */
public record RandomStream(
        long seed,
        int step,
        int tensorId,
        @Nullable Tensor rowIds,
        @Nullable Tensor columnGroups) {
    /** A stream of whole rows. */
    public RandomStream(long seed, int step, int tensorId, @Nullable Tensor rowIds) {
        this(seed, step, tensorId, rowIds, null);
    }
}
