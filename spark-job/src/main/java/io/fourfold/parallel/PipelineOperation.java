package io.fourfold.parallel;

/**
 * One thing that a pipeline rank does.
 *
 * @param microBatch 0-based
 * @param chunk 0-based model chunk of this rank
 * @param peer the other rank of a transfer, -1 for computation
 */
public record PipelineOperation(Kind kind, int microBatch, int chunk, int peer) {
    /** What is done. */
    public enum Kind {
        FORWARD,
        BACKWARD,
        /** Sends the chunk's output to the rank of the next stage. */
        SEND_ACTIVATION,
        /** Receives the chunk's input from the rank of the stage before. */
        RECEIVE_ACTIVATION,
        /** Sends the gradient of the chunk's input to the rank of the stage before. */
        SEND_GRADIENT,
        /** Receives the gradient of the chunk's output from the rank of the next stage. */
        RECEIVE_GRADIENT
    }

    static PipelineOperation compute(boolean forward, int microBatch, int chunk) {
        return new PipelineOperation(forward ? Kind.FORWARD : Kind.BACKWARD, microBatch, chunk, -1);
    }

    public boolean isCompute() {
        return peer < 0;
    }
}
