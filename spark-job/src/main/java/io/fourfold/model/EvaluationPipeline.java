package io.fourfold.model;

import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import io.fourfold.parallel.PipelineOperation;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/** The state of a forward-only run on one pipeline rank: the activations that were received or wait to be sent. */
final class EvaluationPipeline implements AutoCloseable {
    /** What to do with the last hidden state of a micro-batch, which does not outlive the call. */
    interface Ending {
        void accept(int microBatch, Pass pass, Tensor hidden);
    }

    private record Place(int microBatch, int chunk) {}

    /** An activation [T, H] with the memory it lies in. */
    private record Held(Tensor tensor, TensorScope scope) {}

    private final List<ModelChunk> chunks;
    private final Communicator group;
    private final List<Pass> passes;
    private final Ending ending;
    private final Map<Place, Held> held = new HashMap<>();

    EvaluationPipeline(List<ModelChunk> chunks, Communicator group, List<Pass> passes, Ending ending) {
        this.chunks = chunks;
        this.group = group;
        this.passes = passes;
        this.ending = ending;
    }

    void execute(PipelineOperation operation) {
        Place place = new Place(operation.microBatch(), operation.chunk());
        switch (operation.kind()) {
            case RECEIVE_ACTIVATION -> group.receive(hold(place), operation.peer());
            case FORWARD -> forward(place);
            case SEND_ACTIVATION -> {
                Held output = take(place);
                try (TensorScope scope = output.scope()) {
                    group.send(output.tensor(), operation.peer());
                }
            }
            case BACKWARD, RECEIVE_GRADIENT, SEND_GRADIENT ->
                throw new IllegalArgumentException(operation + " in a forward-only schedule");
        }
    }

    private void forward(Place place) {
        ModelChunk chunk = chunks.get(place.chunk());
        Pass pass = passes.get(place.microBatch());
        if (chunk.embedding() != null) {
            chunk.evaluate(pass, null, (p, hidden) -> end(chunk, place, p, hidden));
            return;
        }
        Held input = take(place);
        try (TensorScope scope = input.scope()) {
            chunk.evaluate(pass, input.tensor(), (p, hidden) -> end(chunk, place, p, hidden));
        }
    }

    private void end(ModelChunk chunk, Place place, Pass pass, Tensor hidden) {
        if (chunk.head() != null) {
            ending.accept(place.microBatch(), pass, hidden);
        } else {
            pass.backend().elementwise().copy(hidden, hold(place));
        }
    }

    private Tensor hold(Place place) {
        Pass pass = passes.get(place.microBatch());
        TensorScope scope = pass.backend().scope(Region.ACTIVATIONS);
        Tensor tensor = scope.allocate(
                pass.type(), pass.tokens(), chunks.get(place.chunk()).hiddenSize());
        held.put(place, new Held(tensor, scope));
        return tensor;
    }

    private Held take(Place place) {
        return Objects.requireNonNull(held.remove(place), () -> "nothing is held at " + place);
    }

    @Override
    public void close() {
        Deque<Held> rest = new ArrayDeque<>(held.values());
        held.clear();
        rest.forEach(h -> h.scope().close());
    }
}
