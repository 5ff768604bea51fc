package io.fourfold.model;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.comm.ReduceOp;
import io.fourfold.kernels.op.AmaxExchange;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import org.jspecify.annotations.Nullable;

/**
 * How the weight [N, K] of a linear layer is divided over ranks, and so which of its operands are parts of a larger tensor.
 * A part is quantized with the tensor scale of the whole (its amax goes over the group) and draws the random bits of its
 * place in the whole, so that its codes are those one rank would have.
 *
 * @param weight for the weight; null = it is whole
 * @param input for the layer's input [T, K]
 * @param output for the gradient of its output [T, N]
 * @param outputGroups INT32 [N / 16], place of each 16 columns of the output in the whole; null = it is whole
 */
record WeightSplit(
        @Nullable AmaxExchange weight,
        @Nullable AmaxExchange input,
        @Nullable AmaxExchange output,
        @Nullable Tensor outputGroups) {
    /** Columns of the output that share one random block and may not be divided. */
    static final int GROUP = 16;

    /** One rank has it all. */
    static final WeightSplit NONE = new WeightSplit(null, null, null, null);

    /** Each rank has some columns K and sees that part of the input; outputs are partial sums. */
    static WeightSplit byInput(Communicator group) {
        if (group.size() == 1) {
            return NONE;
        }
        AmaxExchange exchange = exchange(group);
        return new WeightSplit(exchange, exchange, null, null);
    }

    /**
     * Each rank has some rows N: the same part of each of {@code segments}, matrices that lie one above the other (gate and
     * up; query, key and value).
     *
     * @param segments rows of each matrix in the whole
     * @param scope lives as long as the layer
     */
    static WeightSplit byOutput(Communicator group, Backend backend, TensorScope scope, int... segments) {
        if (group.size() == 1) {
            return NONE;
        }
        int[] groups = new int[rows(segments) / group.size() / GROUP];
        int next = 0;
        int start = 0;
        for (int segment : segments) {
            int part = segment / group.size();
            for (int c = 0; c + GROUP <= part && next < groups.length; c += GROUP) {
                groups[next++] = (start + group.rank() * part + c) / GROUP;
            }
            start += segment;
        }
        AmaxExchange exchange = exchange(group);
        Tensor places = scope.allocate(DType.INT32, groups.length);
        backend.upload(groups, places);
        return new WeightSplit(exchange, null, exchange, places);
    }

    private static int rows(int[] segments) {
        int rows = 0;
        for (int segment : segments) {
            rows += segment;
        }
        return rows;
    }

    private static AmaxExchange exchange(Communicator group) {
        return amax -> group.allReduce(amax, ReduceOp.MAX);
    }
}
