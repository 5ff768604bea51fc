package io.fourfold.config;

/** What the driver does when a gang fails: try again from the newest complete checkpoint, or give up. */
public record RestartConfig(
        @Setting(
                doc =
                        "driver: each restart is a new Spark job with a fresh gang. spark: the training stage is a shuffle"
                                + " stage that Spark itself reruns, at most spark.stage.maxConsecutiveAttempts times; of the"
                                + " settings below it then heeds none.",
                value = "driver")
        Supervisor by,

        @Setting(doc = "Restarts after which the run gives up; 0 = never restart.", value = "10", min = 0)
        int maxRestarts,

        @Setting(
                doc = "Seconds before a restart; doubled with each further one that came no step forward.",
                value = "1.0",
                min = 0)
        double backoffSeconds,

        @Setting(doc = "Longest such wait, seconds.", value = "60.0", min = 0)
        double maxBackoffSeconds,

        @Setting(
                doc =
                        "Seconds to wait for executors to come back before giving up, or before going on with fewer ranks.",
                value = "120.0",
                min = 0)
        double waitSeconds,

        @Setting(
                doc = "Fewest ranks to go on with when executors do not come back: the largest world of at least this"
                        + " size that fits the mapping and the same global batch. 0 = never shrink.",
                value = "0",
                min = 0)
        int minWorldSize,

        @Setting(
                doc = "Failures on one host after which the gang leaves that host out, if there are slots enough"
                        + " elsewhere; 0 = never.",
                value = "3",
                min = 0)
        int excludeHostAfter,

        @Setting(
                doc = "When loss or gradients are not finite. stop: end the run. restart: try again, in case a device"
                        + " computed wrongly; the same step failing twice ends the run.",
                value = "stop")
        OnNonFinite onNonFinite) {
    /** Who restarts a failed gang. */
    public enum Supervisor {
        DRIVER,
        SPARK
    }

    /** Whether a loss that is not finite is worth another try. */
    public enum OnNonFinite {
        STOP,
        RESTART
    }
}
