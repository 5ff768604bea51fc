package io.fourfold.spark;

import io.fourfold.kernels.comm.CommunicationException;
import io.fourfold.train.TrainResult;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.ObjectOutputStream;
import java.io.Serializable;
import org.jspecify.annotations.Nullable;

/**
 * How one rank ended. Failures come to the driver as results rather than as failed tasks: Spark would report whichever task
 * it noticed first, the driver wants the one that failed first.
 *
 * @param rank -1 when the task had none
 * @param millis wall clock at the end
 */
record RankReport(
        int rank,
        String host,
        long millis,
        @Nullable TrainResult result,
        @Nullable Throwable failure) implements Serializable {
    private static final long serialVersionUID = 1;

    static RankReport success(int rank, String host, TrainResult result) {
        return new RankReport(rank, host, System.currentTimeMillis(), result, null);
    }

    /** Of a task that got no rank, because its host is left out or there are ranks enough. */
    static RankReport spare(String host) {
        return new RankReport(-1, host, System.currentTimeMillis(), null, null);
    }

    static RankReport failed(int rank, String host, Throwable failure) {
        return new RankReport(rank, host, System.currentTimeMillis(), null, portable(failure));
    }

    /** True when this rank only noticed that another one was gone. */
    boolean isConsequence() {
        for (Throwable t = failure; t != null; t = t.getCause()) {
            if (t instanceof CommunicationException) {
                return true;
            }
        }
        return false;
    }

    /** The failure itself when it can travel, else one with the same text and trace. */
    private static Throwable portable(Throwable failure) {
        try (ObjectOutputStream out = new ObjectOutputStream(new ByteArrayOutputStream())) {
            out.writeObject(failure);
            return failure;
        } catch (IOException e) {
            RuntimeException copy = new RuntimeException(failure.toString());
            copy.setStackTrace(failure.getStackTrace());
            return copy;
        }
    }
}
