package io.fourfold.model;

import io.fourfold.kernels.tensor.Tensor;
import java.util.List;

/**
 * One trained tensor of this rank.
 *
 * @param name unique within the rank, for messages
 * @param kind which flat buffer it lies in, hence over which ranks its gradient is reduced
 * @param offset first element within that flat buffer
 * @param weight FP32 master values, a view of the flat weights
 * @param grad FP32 main gradient, a view of the flat gradients
 * @param decay weight decay applies (matrices yes; norms and biases no)
 * @param pieces which parts of which global tensors it holds; together they cover it exactly
 */
public record Parameter(
        String name, Kind kind, long offset, Tensor weight, Tensor grad, boolean decay, List<Piece> pieces) {
    /** Over which ranks a parameter is replicated. */
    public enum Kind {
        /** Replicated over DP x CP. */
        DENSE,
        /** Replicated over EDP. */
        EXPERT
    }

    public Parameter {
        pieces = List.copyOf(pieces);
    }

    public long elements() {
        return weight.elements();
    }
}
