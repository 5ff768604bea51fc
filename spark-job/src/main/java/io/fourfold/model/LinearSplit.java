package io.fourfold.model;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.tensor.TensorScope;

/**
 * How a linear layer is split over tensor parallel ranks (Megatron-LM with sequence parallelism, arXiv:2205.05198).
 *
 * @param gathersInput column-parallel: forward gathers the rows of the input, backward sums those of its gradient
 * @param sumsOutput row-parallel: forward sums the rows of the output, backward gathers those of its gradient
 */
record LinearSplit(SequenceParallel ranks, boolean gathersInput, boolean sumsOutput, WeightSplit operands) {
    /** Every rank has the whole weight and its own rows. */
    static LinearSplit whole(SequenceParallel ranks) {
        return new LinearSplit(ranks, false, false, WeightSplit.NONE);
    }

    /**
     * Each rank has the same part of the rows of each of {@code segments}, matrices that lie one above the other.
     *
     * @param segments rows of each in the whole
     */
    static LinearSplit byOutput(SequenceParallel ranks, Backend backend, TensorScope constants, int... segments) {
        WeightSplit.Groups groups = new WeightSplit.Groups(ranks.tensor(), ranks.context(), ranks.holders());
        return new LinearSplit(
                ranks, ranks.splitsLayers(), false, WeightSplit.byOutput(groups, backend, constants, segments));
    }

    /** Each rank has some columns of the weight and of the input. */
    static LinearSplit byInput(SequenceParallel ranks) {
        WeightSplit.Groups groups = new WeightSplit.Groups(ranks.tensor(), ranks.context(), ranks.holders());
        return new LinearSplit(ranks, false, ranks.splitsLayers(), WeightSplit.byInput(groups));
    }

    /** Whether rows travel between ranks. */
    boolean exchanges() {
        return gathersInput || sumsOutput;
    }

    /** False where this rank's copy of an operand that all tensor ranks have alike should not be counted again. */
    boolean countsInput() {
        return !gathersInput || ranks.tensor().rank() == 0;
    }

    /** The same for the gradient of the output. */
    boolean countsOutput() {
        return !sumsOutput || ranks.tensor().rank() == 0;
    }
}
