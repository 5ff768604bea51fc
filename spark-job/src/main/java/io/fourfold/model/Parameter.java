package io.fourfold.model;

import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.parallel.Axis;
import java.util.List;

/**
 * One trained tensor of this rank.
 *
 * @param name unique within the rank, for messages
 * @param kind which flat buffer it lies in, hence over which ranks its gradient is reduced
 * @param offset first element within that flat buffer
 * @param weight what the layers read, a view of the flat weights: FP32 master values, or their BF16 part where masters are
 *     split ({@link MasterWeights}). Write through {@link ParameterStore#setWeights}
 * @param grad FP32 main gradient, a view of the flat gradients
 * @param decay weight decay applies (matrices yes; norms and biases no)
 * @param copy true for the head's copy of a tied embedding on another pipeline stage: it is kept equal to the embedding,
 *     which alone counts in the gradient norm and in checkpoints
 * @param pieces which parts of which global tensors it holds; together they cover it exactly
 */
public record Parameter(
        String name,
        Kind kind,
        long offset,
        Tensor weight,
        Tensor grad,
        boolean decay,
        boolean copy,
        List<Piece> pieces) {
    /** Over which ranks a parameter is replicated. */
    public enum Kind {
        /** Sharded over TP, replicated over DP x CP. */
        DENSE(Axis.DP_CP),
        /** Whole on every rank of a stage: norms, routers. TP ranks see different tokens, so TP takes part in the sum. */
        REPLICATED(Axis.STAGE),
        /** Replicated over EDP. */
        EXPERT(Axis.EDP);

        private final Axis replicas;

        Kind(Axis replicas) {
            this.replicas = replicas;
        }

        /** The ranks that hold the same parameters: gradients are summed and optimizer states split over them. */
        public Axis replicas() {
            return replicas;
        }
    }

    public Parameter {
        pieces = List.copyOf(pieces);
    }

    public long elements() {
        return weight.elements();
    }
}
