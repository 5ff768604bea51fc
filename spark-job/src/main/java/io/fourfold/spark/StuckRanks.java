package io.fourfold.spark;

import io.fourfold.kernels.comm.WatchableWorld;
import java.time.Duration;
import java.util.List;

/** Some ranks of a broken world do not end, for example in native code: only Spark can end them, with their executor. */
final class StuckRanks extends RuntimeException {
    private static final long serialVersionUID = 1;

    private StuckRanks(String message) {
        super(message);
    }

    /**
     * Leaves the world and gives the other ranks some time to do so, too.
     *
     * @throws StuckRanks when some have not
     */
    static void check(WatchableWorld world, Duration patience) {
        List<Integer> there;
        try {
            there = world.leave(patience);
        } catch (InterruptedException e) {
            // Spark is ending the gang already.
            Thread.currentThread().interrupt();
            return;
        }
        if (!there.isEmpty()) {
            throw new StuckRanks(world.abortReason() + ". Ranks " + there + " have not ended " + patience.toSeconds()
                    + " s later; Spark kills their tasks, and their executors after spark.task.reaper.killTimeout");
        }
    }
}
