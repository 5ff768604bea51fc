package io.fourfold.train.restart;

import io.fourfold.config.RestartConfig;
import java.time.Duration;
import java.util.Map;
import java.util.OptionalInt;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/** What the failures of a run so far say about the next attempt: whether there is one, and after which wait. */
final class Failures {
    private final RestartConfig config;
    private final Map<String, Integer> byHost = new TreeMap<>();
    private OptionalInt lastStep = OptionalInt.empty();
    private String lastMessage = "";
    private int furthest = -1;
    private int restarts;
    private int withoutProgress;

    Failures(RestartConfig config) {
        this.config = config;
    }

    /** Restarts so far. */
    int restarts() {
        return restarts;
    }

    /** Counts a failure on a host; true when the host has had as many as it may. */
    boolean isTooMuchFor(@Nullable String host) {
        return host != null
                && byHost.merge(host, 1, Integer::sum) >= config.excludeHostAfter()
                && config.excludeHostAfter() > 0;
    }

    /**
     * Takes a failure in.
     *
     * @param step the step that failed; empty when unknown
     * @param changed the next gang leaves out a host that this one had, so the same step may go well
     * @return why there is no other attempt; null when there is one
     */
    @Nullable
    String add(RuntimeException error, OptionalInt step, boolean changed) {
        String message = String.valueOf(error.getMessage());
        boolean same = step.isPresent() && step.equals(lastStep);
        boolean repeated = message.equals(lastMessage);
        boolean progress = step.isPresent() && step.getAsInt() > furthest;
        furthest = Math.max(furthest, step.orElse(-1));
        lastStep = step;
        lastMessage = message;
        Worth worth = Worth.of(error, config.onNonFinite());
        if (restarts >= config.maxRestarts()) {
            return "run.restart.max_restarts is " + config.maxRestarts();
        }
        if (same && !changed) {
            return "it failed twice at step " + step.getAsInt();
        }
        if (worth == Worth.ONCE && repeated) {
            return "the data gave the same error twice";
        }
        restarts++;
        withoutProgress = progress ? 0 : withoutProgress + 1;
        return null;
    }

    /** How long to wait before the next attempt. */
    Duration backoff() {
        double seconds = config.backoffSeconds() * Math.pow(2, Math.min(withoutProgress, 62));
        return Duration.ofMillis(Math.round(1000 * Math.min(seconds, config.maxBackoffSeconds())));
    }
}
