package io.fourfold.train;

import io.fourfold.checkpoint.RunStorage;
import java.io.IOException;
import java.util.concurrent.TimeUnit;

/**
 * A file named {@code STOP} in the run folder asks the run to save and end after the current step. Looked for at most
 * every second, and removed when it is honoured, so that the same command continues.
 */
final class StopRequest {
    static final String FILE = "STOP";
    private static final long INTERVAL_NANOS = TimeUnit.SECONDS.toNanos(1);

    private final RunStorage run;
    private final boolean watches;
    private long next = System.nanoTime();

    /**
     * @param watches true on the rank that looks
     */
    StopRequest(RunStorage run, boolean watches) {
        this.run = run;
        this.watches = watches;
    }

    boolean seen() {
        if (!watches || System.nanoTime() - next < 0) {
            return false;
        }
        next = System.nanoTime() + INTERVAL_NANOS;
        try {
            return run.exists(FILE);
        } catch (IOException e) {
            // The folder cannot be read now; the saves report that, a stop can wait.
            return false;
        }
    }

    void honoured() throws IOException {
        if (watches) {
            run.delete(FILE);
        }
    }
}
