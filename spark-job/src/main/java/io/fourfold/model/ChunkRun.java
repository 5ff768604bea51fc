package io.fourfold.model;

import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * One chunk's work on one micro-batch, from its forward to the end of its backward. Owns what forward keeps and the
 * gradient of the residual stream.
 */
final class ChunkRun implements AutoCloseable {
    private final ModelChunk chunk;
    private final PassMemory memory;
    private final TensorScope kept;
    private final TensorScope gradients;
    private final Pass pass;
    private final List<Block.Backward> backwards = new ArrayList<>();
    /** Of each block's input. */
    private final List<TensorScope> inputs = new ArrayList<>();

    private @Nullable TensorScope lossInput;
    private @Nullable Tensor input;
    private @Nullable Tensor output;
    private @Nullable Tensor dstream;

    /** Allocates nothing but the batch. */
    ChunkRun(ModelChunk chunk, MicroBatch microBatch) {
        this.chunk = chunk;
        memory = PassMemory.lent(
                microBatch.backend(),
                chunk.weightsFromLastToFirst().stream()
                        .filter(weight -> microBatch.lent().contains(weight.name()))
                        .toList());
        kept = microBatch.backend().scope(Region.ACTIVATIONS);
        gradients = microBatch.backend().scope(Region.WORKSPACE);
        pass = microBatch.pass(kept, memory);
    }

    /** Memory [T, H] for the activation of the chunk before, to be filled before {@link #forward}. */
    Tensor allocateInput() {
        input = kept.allocate(pass.type(), pass.tokens(), chunk.hiddenSize());
        return input;
    }

    /**
     * Runs embedding, blocks and head as far as the chunk has them. The head writes the token losses to the report and
     * the gradient that {@link #backward} starts from.
     */
    void forward() {
        memory.workInForward();
        TensorScope scope = scopeOfInput(0);
        Tensor x = chunk.input(pass.withKept(scope), input);
        for (int i = 0; i < chunk.blocks().size(); i++) {
            inputs.add(scope);
            scope = scopeOfInput(i + 1);
            Tensor out = scope.allocate(pass.type(), x.shape());
            backwards.add(chunk.blocks().get(i).forward(pass, x, out));
            x = out;
        }
        if (chunk.head() == null) {
            output = x;
        } else {
            MicroBatchReport report = Objects.requireNonNull(pass.report());
            chunk.head().loss(pass, x, report.lossPerToken(), outputGradient());
            lossInput = scope;
        }
        memory.workFreely();
    }

    /** Where the input of a block lies, or the output of the last one: until the loss, or until it is sent. */
    private TensorScope scopeOfInput(int block) {
        if (block < chunk.blocks().size()) {
            return memory.keptThrough(chunk.blocks().get(block).attentionWeights());
        }
        return chunk.head() == null ? kept : memory.keptInForward();
    }

    /** The hidden state after the last block [T, H], until {@link #backward}; for a chunk without head. */
    Tensor output() {
        return Objects.requireNonNull(output, "forward has not run, or the chunk has the head");
    }

    /**
     * The gradient of the output [T, H]: to be filled before {@link #backward} when there is no head. Backward turns it
     * into the gradient of the chunk's input.
     */
    Tensor outputGradient() {
        if (dstream == null) {
            dstream = gradients.allocate(pass.type(), pass.tokens(), chunk.hiddenSize());
        }
        return dstream;
    }

    /**
     * Adds to the parameter gradients and releases what forward kept.
     *
     * @param progress told what is complete; null unless this is the chunk's last micro-batch
     */
    void backward(@Nullable GradientProgress progress) {
        Tensor gradient = outputGradient();
        if (lossInput != null) {
            lossInput.close();
        }
        if (progress != null && chunk.head() != null) {
            progress.headDone();
        }
        for (int i = backwards.size() - 1; i >= 0; i--) {
            backwards.get(i).run(gradient);
            inputs.get(i).close();
            memory.workFreely();
            if (progress != null) {
                progress.blockDone(chunk.blocks().get(i).index());
            }
        }
        if (chunk.embedding() != null) {
            chunk.embedding().backward(pass, gradient);
        }
        backwards.clear();
        memory.close();
        kept.close();
    }

    /** Device bytes that forward kept. */
    long keptBytes() {
        return kept.allocatedBytes() + memory.keptBytes();
    }

    @Override
    public void close() {
        memory.close();
        gradients.close();
        kept.close();
    }
}
