package io.fourfold.bench.operations;

import io.fourfold.bench.BenchShape;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.ModelConfig;
import io.fourfold.config.MoeConfig;
import io.fourfold.config.RecipeConfig;
import java.util.Objects;

/**
 * The sizes of a {@link BenchShape} that operations depend on.
 *
 * @param name S, M, Q or T
 * @param batch sequences of a micro-batch
 * @param width of an expert
 */
record OperationShape(
        String name,
        int batch,
        int sequence,
        int hidden,
        int heads,
        int kvHeads,
        int headDim,
        int experts,
        int topK,
        int width,
        int vocabulary) {
    static OperationShape of(BenchShape shape) {
        FourfoldConfig config = shape.config(RecipeConfig.Kind.BF16, 1, false);
        ModelConfig model = config.model();
        MoeConfig moe = Objects.requireNonNull(model.moe(), "every benchmark model has experts");
        return new OperationShape(
                shape.name(),
                config.train().microBatchSize(),
                config.train().sequenceLength(),
                model.hiddenSize(),
                model.attention().heads(),
                model.attention().kvHeads(),
                model.attention().headDim(),
                moe.experts(),
                moe.topK(),
                moe.intermediateSize(),
                model.vocabSize());
    }

    int tokens() {
        return batch * sequence;
    }

    /** Rows that the experts work on. */
    int rows() {
        return tokens() * topK;
    }

    boolean tiny() {
        return name.equals("T");
    }
}
