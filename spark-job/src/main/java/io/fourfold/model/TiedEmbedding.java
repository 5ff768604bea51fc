package io.fourfold.model;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;

/**
 * Sums the gradients of a tied embedding and of the head's copy on the last pipeline rank. Each of the two ranks adds the
 * other's gradient to its own; addition of two numbers commutes, so both get the same bits, and the same optimizer step
 * keeps the weights equal.
 */
final class TiedEmbedding {
    /** Exchanged in pieces, so that the copy of the other gradient stays small. */
    private static final int PIECE_ELEMENTS = 1 << 22;

    private TiedEmbedding() {}

    /** Collective over the first and the last rank of the pipeline group; other ranks may call it too. */
    static void sumGradients(ParameterStore store, Communicator pipeline, Backend backend) {
        int last = pipeline.size() - 1;
        boolean first = pipeline.rank() == 0;
        if (last == 0 || (!first && pipeline.rank() != last)) {
            return;
        }
        Tensor gradient = store.get(first ? ParameterDeclarations.EMBEDDING : ParameterDeclarations.TIED_HEAD)
                .grad();
        int peer = first ? last : 0;
        for (long from = 0; from < gradient.elements(); from += PIECE_ELEMENTS) {
            int count = (int) Math.min(PIECE_ELEMENTS, gradient.elements() - from);
            Tensor mine = gradient.view(from, Shape.of(count));
            try (TensorScope scope = backend.scope(Region.WORKSPACE)) {
                Tensor theirs = scope.allocate(DType.FP32, count);
                if (first) {
                    pipeline.send(mine, peer);
                    pipeline.receive(theirs, peer);
                } else {
                    pipeline.receive(theirs, peer);
                    pipeline.send(mine, peer);
                }
                backend.elementwise().add(mine, theirs, mine);
            }
        }
    }
}
