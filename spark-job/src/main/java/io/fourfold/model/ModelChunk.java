package io.fourfold.model;

import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.function.BiConsumer;
import org.jspecify.annotations.Nullable;

/**
 * Consecutive blocks: what one pipeline rank runs between receiving an activation [T, H] and sending one. The first chunk
 * of a model begins with the embedding, the last one ends with the head; a model without pipeline parallelism is one chunk
 * with both.
 *
 * @param hiddenSize H
 * @param embedding of the first chunk, else null
 * @param head of the last chunk, else null
 */
record ModelChunk(
        int hiddenSize,
        @Nullable Embedding embedding,
        List<Block> blocks,
        @Nullable OutputHead head) {
    ModelChunk {
        blocks = List.copyOf(blocks);
    }

    void prepare(WeightPreparation preparation, DType type) {
        if (embedding != null) {
            embedding.prepare(preparation);
        }
        blocks.forEach(block -> block.prepare(preparation));
        if (head != null) {
            head.prepare(preparation, type);
        }
    }

    /** The weights whose gradients a step's first backward writes, in its order; the head's come before. */
    List<Parameter> weightsFromLastToFirst() {
        List<Parameter> weights = new ArrayList<>();
        for (int i = blocks.size() - 1; i >= 0; i--) {
            weights.addAll(blocks.get(i).feedForwardWeights());
            weights.addAll(blocks.get(i).attentionWeights());
        }
        if (embedding != null && !embedding.tied()) {
            weights.add(embedding.weight());
        }
        return weights;
    }

    OutputHead requireHead() {
        return Objects.requireNonNull(head, "only the last chunk has the head");
    }

    /** What the first block reads: the embedded tokens, or the given activation of the chunk before. */
    Tensor input(Pass pass, @Nullable Tensor received) {
        if (embedding == null) {
            return Objects.requireNonNull(received, "a chunk without embedding needs the activation before it");
        }
        Tensor x = pass.kept().allocate(pass.type(), pass.tokens(), hiddenSize);
        embedding.forward(pass, x);
        return x;
    }

    /**
     * Forward only; a block's memory is released as soon as the next one is done.
     *
     * @param pass of evaluation; its kept scope is not used
     * @param received [T, H] for a chunk without embedding
     * @param ending what to do with the last hidden state, which does not outlive the call
     */
    void evaluate(Pass pass, @Nullable Tensor received, BiConsumer<Pass, Tensor> ending) {
        TensorScope current = pass.memory().keptInForward();
        try {
            Tensor x = input(pass.withKept(current), received);
            for (Block block : blocks) {
                TensorScope next = pass.memory().keptInForward();
                TensorScope done = current;
                current = next;
                try (done) {
                    Tensor out = next.allocate(pass.type(), x.shape());
                    block.evaluate(pass.withKept(next), x, out);
                    x = out;
                }
            }
            ending.accept(pass, x);
        } finally {
            current.close();
        }
    }
}
