package io.fourfold.train.fault;

import io.fourfold.checkpoint.RunStorage;
import io.fourfold.config.FaultSpec;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.time.Instant;

/**
 * Which faults have struck, kept in the run folder so that a restart does not repeat them: one file for each time, {@code
 * faults/crash_rank=1_step=20/1}.
 */
public final class FaultMemory {
    private static final String FOLDER = "faults/";

    private final RunStorage run;

    public FaultMemory(RunStorage run) {
        this.run = run;
    }

    /** How often the fault has struck. */
    public int count(FaultSpec fault) {
        try {
            return run.list(folder(fault)).size();
        } catch (IOException e) {
            throw new UncheckedIOException("cannot read which faults were injected into " + run.location(), e);
        }
    }

    /** Remembers that the fault strikes now; false when it has struck as often as it should. */
    boolean take(FaultSpec fault, int step) {
        int count = count(fault);
        if (count >= fault.times()) {
            return false;
        }
        try {
            run.writeText(folder(fault) + "/" + (count + 1), "step " + step + " at " + Instant.now() + "\n");
            return true;
        } catch (IOException e) {
            throw new UncheckedIOException("cannot note an injected fault in " + run.location(), e);
        }
    }

    private static String folder(FaultSpec fault) {
        return FOLDER + fault.text().replace(' ', '_');
    }
}
