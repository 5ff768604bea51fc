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
 * How the weight [N, K] of a linear layer and the rows of its input are divided over ranks, and so which of its operands are
 * parts of a larger tensor.
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

    /**
     * Who holds parts.
     *
     * @param weight ranks that divide the weight
     * @param rows ranks that hold other rows of the same input; null = none
     * @param both all of these
     */
    record Groups(Communicator weight, @Nullable Communicator rows, Communicator both) {
        /** Ranks that divide the weight and see all rows. */
        static Groups of(Communicator weight) {
            return new Groups(weight, null, weight);
        }
    }

    /** Each rank has some columns K and sees that part of the input; outputs are partial sums. */
    static WeightSplit byInput(Groups ranks) {
        return new WeightSplit(exchange(ranks.weight()), exchange(ranks.both()), exchange(ranks.rows()), null);
    }

    /**
     * Each rank has some rows N: the same part of each of {@code segments}, matrices that lie one above the other (gate and
     * up; query, key and value).
     *
     * @param segments rows of each matrix in the whole
     * @param scope lives as long as the layer
     */
    static WeightSplit byOutput(Groups ranks, Backend backend, TensorScope scope, int... segments) {
        Tensor places = ranks.weight().size() == 1 ? null : places(ranks.weight(), backend, scope, segments);
        return new WeightSplit(exchange(ranks.weight()), exchange(ranks.rows()), exchange(ranks.both()), places);
    }

    private static Tensor places(Communicator group, Backend backend, TensorScope scope, int... segments) {
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
        Tensor places = scope.allocate(DType.INT32, groups.length);
        backend.upload(groups, places);
        return places;
    }

    private static int rows(int[] segments) {
        int rows = 0;
        for (int segment : segments) {
            rows += segment;
        }
        return rows;
    }

    private static @Nullable AmaxExchange exchange(@Nullable Communicator group) {
        return group == null || group.size() == 1 ? null : amax -> group.allReduce(amax, ReduceOp.MAX);
    }
}
