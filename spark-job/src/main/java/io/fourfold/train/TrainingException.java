package io.fourfold.train;

/** Training cannot go on. The message says what happened, where (rank, step, layer), the likely cause and what to do. */
public final class TrainingException extends RuntimeException {
    /** Why; the name appears in messages and logs. */
    public enum Code {
        /** Settings that cannot run together, found before any work. */
        TRAIN_SETUP,
        /** Loss or gradient norm is NaN or infinite; the optimizer step was not applied. */
        TRAIN_NON_FINITE,
        /** A rank failed; the cause is that rank's own error. */
        TRAIN_RANK_FAILED,
        /** Spark could not start the gang, or it was cancelled. */
        TRAIN_LAUNCH,
        /** An executor was lost, or a rank stopped answering. */
        TRAIN_RANK_LOST,
        /** The run failed again and again; the cause is the last failure. */
        TRAIN_GAVE_UP
    }

    private final Code code;

    public TrainingException(Code code, String message) {
        super(code + ": " + message);
        this.code = code;
    }

    public TrainingException(Code code, String message, Throwable cause) {
        super(code + ": " + message, cause);
        this.code = code;
    }

    public Code code() {
        return code;
    }
}
