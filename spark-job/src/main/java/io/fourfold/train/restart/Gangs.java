package io.fourfold.train.restart;

import io.fourfold.train.TrainResult;
import java.util.Collection;
import java.util.OptionalInt;

/** Starts gangs and knows the cluster, for {@link RestartLoop}. */
public interface Gangs {
    /**
     * Trains until the end, a stop or a failure. Leaves nothing running.
     *
     * @throws AttemptException when the gang failed
     */
    TrainResult launch(Attempt attempt) throws AttemptException;

    /** Ranks that could run at the same time now, on hosts other than these. */
    int slots(Collection<String> leftOutHosts);

    /** The last finished step of the run; empty when unknown, for instance because no metrics are in reach. */
    OptionalInt lastStep();

    /** Step of the newest complete checkpoint; 0 when there is none. */
    int newestCheckpoint();
}
