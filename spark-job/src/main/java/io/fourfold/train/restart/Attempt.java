package io.fourfold.train.restart;

import java.io.Serializable;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * One try to train to the end.
 *
 * @param number 1 for the first, one more for each restart
 * @param worldSize ranks of this gang
 * @param leftOutHosts hosts whose slots stay unused, sorted
 * @param reason why the attempt before this one failed; null for the first
 */
public record Attempt(
        int number,
        int worldSize,
        List<String> leftOutHosts,
        @Nullable String reason) implements Serializable {
    private static final long serialVersionUID = 1;

    public Attempt {
        leftOutHosts = List.copyOf(leftOutHosts);
    }

    /** The first attempt of a run, or of a run's continuation. */
    public static Attempt first(int worldSize) {
        return new Attempt(1, worldSize, List.of(), null);
    }

    public boolean isRestart() {
        return number > 1;
    }
}
