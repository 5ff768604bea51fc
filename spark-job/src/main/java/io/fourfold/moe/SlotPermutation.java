package io.fourfold.moe;

import io.fourfold.kernels.op.MoeOps;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;

/**
 * Rows of tokens, copied for some of their k slots and sorted; the two directions are each other's transpose.
 *
 * @param k slots of a token
 * @param rowOfSlot INT32 [T * k], -1 where a slot has no row
 * @param slotOfRow INT32 [R], -1 in padding
 */
record SlotPermutation(MoeOps ops, int k, Tensor rowOfSlot, Tensor slotOfRow) {
    int rows() {
        return Math.toIntExact(slotOfRow.elements());
    }

    int tokens() {
        return Math.toIntExact(rowOfSlot.elements() / k);
    }

    /** Row r of the result [R, C] is {@code x[slotOfRow[r] / k, :]}. */
    Tensor spread(Tensor x, TensorScope scope) {
        Tensor out = scope.allocate(x.dtype(), rows(), x.dim(1));
        ops.spreadRows(x, slotOfRow, rowOfSlot, k, out);
        return out;
    }

    /** out [T, C]: the sum of the rows of each token, in the order of its slots. */
    void sum(Tensor rows, Tensor out) {
        ops.sumRows(rows, rowOfSlot, k, out);
    }

    /** {@link #spread} of tokens {@code from ..} only, x [n, C], into out [R, C]. */
    void spread(Tensor x, int from, Tensor out) {
        ops.spreadSomeRows(x, null, 1, slots(from, x.dim(0)), k, out);
    }

    /** Rows {@code from .. to} of {@link #spread}. */
    void rows(Tensor x, int from, int to, Tensor out) {
        ops.gatherRows(x, rowSlots(from, to), k, out);
    }

    /** Slots of tokens {@code from .. from + count}. */
    Tensor slots(int from, int count) {
        return rowOfSlot.view((long) from * k, Shape.of(count, k));
    }

    /** Slots of rows {@code from .. to}. */
    Tensor rowSlots(int from, int to) {
        return slotOfRow.view(from, Shape.of(to - from));
    }

    /** {@link #sum} of tokens {@code from ..} only, out [n, C]. */
    void sum(Tensor rows, int from, Tensor out) {
        ops.sumRows(rows, slots(from, out.dim(0)), k, out);
    }

    /** A value of each slot [T, k] for its row: [R, 1]. */
    Tensor toRows(Tensor slots, TensorScope scope) {
        Tensor out = scope.allocate(slots.dtype(), rows(), 1);
        ops.gatherRows(slots.reshape(tokens() * k, 1), slotOfRow, 1, out);
        return out;
    }

    /** A value of each row [R, 1] for its slot: out [T, k], zero where the slot has no row. */
    void toSlots(Tensor rows, Tensor out) {
        ops.gatherRows(rows, rowOfSlot, 1, out.reshape(tokens() * k, 1));
    }
}
