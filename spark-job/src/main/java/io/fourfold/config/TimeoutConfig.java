package io.fourfold.config;

import java.time.Duration;

/** How long ranks wait for each other before the gang ends with a reason. Spark's own rendezvous has another limit. */
public record TimeoutConfig(
        @Setting(
                doc =
                        "Seconds that the ranks may take from the rendezvous until all are connected, and that a cluster may"
                                + " take to give the first executor.",
                value = "120",
                min = 1)
        int startSeconds,

        @Setting(
                doc =
                        "Seconds without progress in a collective, or between two, before a rank counts as hung: more than"
                                + " any step, evaluation or checkpoint takes.",
                value = "1800",
                min = 1)
        int stepSeconds) {
    public Duration start() {
        return Duration.ofSeconds(startSeconds);
    }

    public Duration step() {
        return Duration.ofSeconds(stepSeconds);
    }
}
