package io.fourfold.kernels.comm;

/**
 * What a rank is doing as far as its peers are concerned.
 *
 * @param inOperation true while it waits or works in an operation of some group
 * @param millis since when
 * @param operation the operation, or the last one when there is none now
 */
public record Activity(boolean inOperation, long millis, String operation) {
    /** For example {@code in no operation for 31.2 s (the last was #57 ep barrier())}. */
    public String describe() {
        String seconds = "%.1f s".formatted(millis / 1000.0);
        return inOperation
                ? "in " + operation + " for " + seconds
                : "in no operation for " + seconds + " (the last was " + operation + ")";
    }
}
