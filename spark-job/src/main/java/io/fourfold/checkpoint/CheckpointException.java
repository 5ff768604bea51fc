package io.fourfold.checkpoint;

/** A checkpoint that cannot be used: missing, truncated, corrupt or of another model. Says which file and what to do. */
public final class CheckpointException extends RuntimeException {
    public CheckpointException(String message) {
        super(message);
    }

    public CheckpointException(String message, Throwable cause) {
        super(message, cause);
    }
}
