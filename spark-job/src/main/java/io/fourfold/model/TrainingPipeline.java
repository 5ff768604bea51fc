package io.fourfold.model;

import io.fourfold.kernels.comm.Communicator;
import io.fourfold.parallel.PipelineOperation;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** The state of a training step on one pipeline rank: what is between forward and backward. */
final class TrainingPipeline implements AutoCloseable {
    private record Place(int microBatch, int chunk) {}

    private final List<ModelChunk> chunks;
    private final Communicator group;
    private final List<MicroBatch> microBatches;
    private final Map<Place, ChunkRun> runs = new HashMap<>();
    private final @Nullable GradientProgress progress;
    private long peakBytes;

    TrainingPipeline(
            List<ModelChunk> chunks,
            Communicator group,
            List<MicroBatch> microBatches,
            @Nullable GradientProgress progress) {
        this.progress = progress;
        this.chunks = chunks;
        this.group = group;
        this.microBatches = microBatches;
    }

    /** Largest sum of what forwards kept, in device bytes. */
    long peakBytes() {
        return peakBytes;
    }

    void execute(PipelineOperation operation) {
        Place place = new Place(operation.microBatch(), operation.chunk());
        switch (operation.kind()) {
            case RECEIVE_ACTIVATION -> group.receive(start(place).allocateInput(), operation.peer());
            case FORWARD -> forward(chunks.get(place.chunk()).embedding() == null ? running(place) : start(place));
            case SEND_ACTIVATION -> group.send(running(place).output(), operation.peer());
            case RECEIVE_GRADIENT -> group.receive(running(place).outputGradient(), operation.peer());
            case BACKWARD -> backward(place);
            case SEND_GRADIENT -> {
                group.send(running(place).outputGradient(), operation.peer());
                finish(place);
            }
        }
    }

    private void forward(ChunkRun run) {
        run.forward();
        peakBytes = Math.max(
                peakBytes, runs.values().stream().mapToLong(ChunkRun::keptBytes).sum());
    }

    private void backward(Place place) {
        // The backwards of a chunk take the micro-batches in order.
        boolean last = place.microBatch() == microBatches.size() - 1;
        running(place).backward(last ? progress : null);
        if (chunks.get(place.chunk()).embedding() != null) {
            finish(place);
        }
    }

    private ChunkRun start(Place place) {
        ChunkRun run = new ChunkRun(chunks.get(place.chunk()), microBatches.get(place.microBatch()));
        runs.put(place, run);
        return run;
    }

    private ChunkRun running(Place place) {
        ChunkRun run = runs.get(place);
        if (run == null) {
            throw new IllegalStateException("the schedule has not started " + place);
        }
        return run;
    }

    private void finish(Place place) {
        running(place).close();
        runs.remove(place);
    }

    @Override
    public void close() {
        runs.values().forEach(ChunkRun::close);
        runs.clear();
    }
}
