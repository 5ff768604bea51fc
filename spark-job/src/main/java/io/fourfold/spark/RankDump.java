package io.fourfold.spark;

import io.fourfold.checkpoint.RunStorage;
import io.fourfold.kernels.comm.WatchableWorld;
import java.io.IOException;
import java.util.Arrays;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Leaves in the run folder what a rank of a failed gang did last: {@code failures/<run id>/rank-NNNNN.txt} with the reason,
 * the stack, and its last collectives. Side by side, the files of all ranks show who waited for whom.
 */
final class RankDump {
    private static final Logger LOG = LoggerFactory.getLogger(RankDump.class);

    private final String runId;
    private final String host;
    private final WatchableWorld world;
    private final Supplier<RunStorage> storage;
    private boolean written;

    RankDump(String runId, String host, WatchableWorld world, Supplier<RunStorage> storage) {
        this.runId = runId;
        this.host = host;
        this.world = world;
        this.storage = storage;
    }

    /** Where the files of an attempt are, within the run folder. */
    static String folder(String runId) {
        return "failures/" + runId;
    }

    /** Writes the file; the first one stays, for it is closest to what happened. Never fails. */
    synchronized void write(String reason, StackTraceElement[] stack) {
        if (written) {
            return;
        }
        written = true;
        String text = "rank " + world.rank() + " on " + host + "\n" + reason + "\n\nat\n"
                + Arrays.stream(stack).map(frame -> "  " + frame + "\n").collect(Collectors.joining())
                + "\nnow " + world.activity().describe() + "\n\nlast collectives\n"
                + String.join("\n", world.lastOperations()) + "\n";
        try {
            storage.get().writeText("%s/rank-%05d.txt".formatted(folder(runId), world.rank()), text);
        } catch (IOException | RuntimeException e) {
            // Of two troubles the first one matters.
            LOG.warn("cannot write what rank {} did last", world.rank(), e);
        }
    }
}
