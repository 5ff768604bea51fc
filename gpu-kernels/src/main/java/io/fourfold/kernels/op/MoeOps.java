package io.fourfold.kernels.op;

import io.fourfold.kernels.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Routing, permutation and the expert activation. A <em>slot</em> is one (token, choice) pair, numbered t*k + j. A
 * <em>row</em> is a position in the expert-sorted buffer: rows of expert e are {@code offsets[e] .. offsets[e+1]}, in
 * ascending slot order. Offsets and indices live on the device.
 */
public interface MoeOps {
    /**
     * Chooses experts. Ties go to the lower expert index.
     *
     * @param logits FP32 [T, E]
     * @param expertBias FP32 [E], added for selection only, to the scores (TOP_K_SOFTMAX: to the logits); null = none
     * @param scores FP32 [T, E] out: softmax over all experts (both softmax orders) or sigmoid, kept for losses, backward
     * @param experts INT32 [T, k] out, by descending selection score
     * @param weights FP32 [T, k] out
     * @param counts INT32 [E] out: tokens per expert before any dropping
     */
    void route(
            RouterSpec spec,
            Tensor logits,
            @Nullable Tensor expertBias,
            Tensor scores,
            Tensor experts,
            Tensor weights,
            Tensor counts);

    /**
     * @param dweights FP32 [T, k]
     * @param dscores FP32 [T, E], gradient of the auxiliary losses in the scores; null = none
     * @param dlogits FP32 [T, E], written
     */
    void routeBackward(
            RouterSpec spec,
            Tensor logits,
            Tensor scores,
            Tensor experts,
            Tensor weights,
            Tensor dweights,
            @Nullable Tensor dscores,
            Tensor dlogits);

    /**
     * Adds the gradient of the load-balancing loss {@code factor * sum_e fraction[e] * sum_t scores[t, e]} (scores
     * normalized over e first when {@code normalize}) to dscores and adds each expert's score sum to scoreSums.
     *
     * @param fraction FP32 [E], the load term, a constant for the gradient; null = only sum the scores
     */
    void balanceLoss(
            Tensor scores,
            boolean normalize,
            @Nullable Tensor fraction,
            float factor,
            Tensor dscores,
            Tensor scoreSums);

    /** out[0] += sum_t logsumexp(logits[t, :])^2; dlogits += factor * its gradient. FP32 out [1]. */
    void zLoss(Tensor logits, float factor, Tensor out, Tensor dlogits);

    /**
     * Sorts slots by expert without comparing: counts, prefix sums, positions. Expert -1 marks a dropped slot.
     *
     * @param experts INT32 [T, k]
     * @param offsets INT32 [E+1] out
     * @param rowOfSlot INT32 [T*k] out; -1 where dropped
     * @param slotOfRow INT32 [at least the kept slots] out; entries beyond offsets[E] are -1
     */
    void buildPermutation(Tensor experts, Tensor offsets, Tensor rowOfSlot, Tensor slotOfRow);

    /**
     * The same with every expert padded to {@code capacity} rows: {@code offsets[e] = e * capacity}, and the rows of
     * expert e beyond its slots have slotOfRow -1. No expert may have more slots than capacity.
     *
     * @param slotOfRow INT32 [E * capacity] out
     */
    void buildPaddedPermutation(Tensor experts, int capacity, Tensor offsets, Tensor rowOfSlot, Tensor slotOfRow);

    /**
     * Counts slots per expert.
     *
     * @param experts INT32, any shape; -1 is not counted
     * @param counts INT32 [E] out
     */
    void countExperts(Tensor experts, Tensor counts);

    /**
     * Drops the slots beyond each expert's capacity. Tokens come in consecutive groups that have a capacity each.
     *
     * @param experts INT32 [T, k]
     * @param priority FP32 [T, k], the largest stay (ties: the lower slot); null = the first ones stay
     * @param tokensPerGroup tokens that share one capacity; divides T
     * @param capacity slots an expert takes from one group
     * @param kept INT32 [T, k] out: the expert or -1; may alias experts
     * @param keptCounts INT32 [E] out
     */
    void dropOverCapacity(
            Tensor experts,
            @Nullable Tensor priority,
            int tokensPerGroup,
            int capacity,
            Tensor kept,
            Tensor keptCounts);

    /**
     * Index maps from a buffer of segments ordered by (source, expert), as an all-to-all delivers them, to the order
     * (expert, source).
     *
     * @param counts INT32 [sources, experts]: rows of each segment, R in total
     * @param offsets INT32 [experts + 1] out, of the target order
     * @param sourceOfTarget INT32 [R] out: {@link #gatherRows} with it sorts
     * @param targetOfSource INT32 [R] out: gatherRows with it restores the first order
     */
    void transposeSegments(Tensor counts, Tensor offsets, Tensor sourceOfTarget, Tensor targetOfSource);

    /**
     * Where the tokens have to go when each travels once to a rank, however many of its experts are there.
     *
     * @param experts INT32 [T, k], -1 for a dropped slot; rank r holds {@code r * expertsPerRank .. (r+1) * expertsPerRank}
     * @param ranks INT32 [T, k] out: the rank of the slot's expert at the first slot of the token that goes there, else -1;
     *     {@link #buildPermutation} with ranks for experts then sorts tokens by rank
     * @param counts INT32 [ranks, 2] out: tokens and slots for each rank
     */
    void ranksOfSlots(Tensor experts, int expertsPerRank, Tensor ranks, Tensor counts);

    /**
     * The rows of each expert whose slots are {@code from .. to}.
     *
     * @param offsets INT32 [E+1], as {@link #buildPermutation} wrote them with
     * @param slotOfRow INT32 [offsets[E]], ascending within an expert
     * @param part INT32 [E] each, written
     */
    void partOfSlots(Tensor offsets, Tensor slotOfRow, int from, int to, RowPart part);

    /**
     * What a rank must know of the tokens that travel to it, a row each: the k experts, the bits of the k weights, the row id.
     *
     * @param experts INT32 [T, k]
     * @param weights FP32 [T, k]
     * @param rowIds INT32 [T]
     * @param slotOfRow INT32 [R]: a slot of the token of each row
     * @param packed INT32 [R, 2k + 1] out
     */
    void packRouting(Tensor experts, Tensor weights, Tensor rowIds, Tensor slotOfRow, Tensor packed);

    /**
     * {@link #packRouting} undone, as one rank sees it.
     *
     * @param firstExpert first expert of this rank
     * @param localExperts how many it holds
     * @param experts INT32 [R, k] out, numbered from 0; -1 where the expert is elsewhere
     * @param weights FP32 [R, k] out
     * @param rowIds INT32 [R] out
     */
    void unpackRouting(Tensor packed, int firstExpert, int localExperts, Tensor experts, Tensor weights, Tensor rowIds);

    /**
     * out[r, :] = x[index[r] / divisor, :]; rows with index -1 become zero. x and out have the same type, INT32 included,
     * and may not alias.
     */
    void gatherRows(Tensor x, Tensor index, int divisor, Tensor out);

    /**
     * {@link #gatherRows} with slotOfRow and divisor k, where the inverse is known too: a backend may read each row of x
     * once instead of k times.
     *
     * @param slotOfRow INT32 [R], -1 for a row that becomes zero
     * @param rowOfSlot INT32 [T, k], -1 where dropped; slotOfRow[rowOfSlot[s]] = s, and no other slots are in slotOfRow
     */
    default void spreadRows(Tensor x, Tensor slotOfRow, Tensor rowOfSlot, int k, Tensor out) {
        gatherRows(x, slotOfRow, k, out);
    }

    /**
     * Copies of some tokens' rows: out[rowOfSlot[t*k + j], :] = x[index[t] / divisor, :], -1 skipped. Other rows of out stay
     * as they are.
     *
     * @param index INT32 [T]; null = x[t, :]
     * @param rowOfSlot INT32 [T, k], without repetition
     */
    void spreadSomeRows(Tensor x, @Nullable Tensor index, int divisor, Tensor rowOfSlot, int k, Tensor out);

    /**
     * out[t, :] = sum over j of y[rowOfSlot[t*k + j], :], dropped slots skipped, j ascending, FP32 accumulation. With
     * gatherRows(divisor k) this is a pair of transposes: each is the other's backward.
     */
    void sumRows(Tensor y, Tensor rowOfSlot, int k, Tensor out);

    /**
     * {@link #sumRows} of rows of which some were not added up yet: where r = rowOfSlot[t*k + j] is in
     * {@code from .. from + n}, the sum over i of own[rowOfOwnSlot[(r - from) * k + i], :] takes the place of y[r, :].
     *
     * @param own [R, C]
     * @param rowOfOwnSlot INT32 [n, k], -1 skipped
     */
    void sumRowsAndOwn(Tensor y, Tensor rowOfSlot, int from, Tensor own, Tensor rowOfOwnSlot, int k, Tensor out);

    /**
     * Packs rows for the way to their experts.
     *
     * @param x [R, C], FP32 or BF16
     * @param packed INT32 [R, format.words(C)] out
     */
    void packRows(Tensor x, RowFormat format, Tensor packed);

    /**
     * @param out [R, C], FP32 or BF16; both hold the values exactly
     */
    void unpackRows(Tensor packed, RowFormat format, Tensor out);

    /**
     * out[r, :] = activation(in[r, :]) * probability[r].
     *
     * @param probability FP32 [R] or null for 1
     */
    void activation(Activation kind, Tensor in, @Nullable Tensor probability, Tensor out);

    /** Writes din, and dprobability [R] when given. */
    void activationBackward(
            Activation kind,
            Tensor dout,
            Tensor in,
            @Nullable Tensor probability,
            Tensor din,
            @Nullable Tensor dprobability);
}
