package io.fourfold.train.restart;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.RestartConfig;
import io.fourfold.train.TrainResult;
import io.fourfold.train.TrainingException;
import java.time.Duration;
import java.util.Locale;
import java.util.OptionalInt;
import java.util.TreeSet;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * Starts gangs until one reaches the end of the run. A failed gang is followed by a fresh one, which continues from the
 * newest complete checkpoint, unless another try would be in vain: a configuration that cannot run, a loss that is not
 * finite (see {@code run.restart.on_non_finite}), damaged data, the same step failing twice, or too many restarts.
 */
public final class RestartLoop {
    private static final Duration POLL = Duration.ofMillis(200);

    private final FourfoldConfig config;
    private final RestartConfig settings;
    private final Gangs gangs;
    private final Pause pause;
    private final Consumer<String> console;
    private final Failures failures;
    private final TreeSet<String> leftOut = new TreeSet<>();

    /**
     * @param console gets one line for each restart
     */
    public RestartLoop(FourfoldConfig config, Gangs gangs, Pause pause, Consumer<String> console) {
        this.config = config;
        this.settings = config.run().restart();
        this.gangs = gangs;
        this.pause = pause;
        this.console = console;
        this.failures = new Failures(settings);
    }

    /**
     * How the run ended.
     *
     * @throws RuntimeException the failure that ended the run as it was, or a {@link TrainingException} of code {@code
     *     TRAIN_GAVE_UP} with the last one of several as its cause
     */
    public TrainResult run() {
        Attempt attempt = Attempt.first(config.parallel().worldSize());
        while (true) {
            try {
                return gangs.launch(attempt);
            } catch (AttemptException failure) {
                attempt = next(failure);
            }
        }
    }

    private Attempt next(AttemptException failure) {
        RuntimeException error = failure.error();
        if (Worth.of(error, settings.onNonFinite()) == Worth.NOTHING || settings.maxRestarts() == 0) {
            throw error;
        }
        OptionalInt last = gangs.lastStep();
        OptionalInt step = last.isPresent() ? OptionalInt.of(last.getAsInt() + 1) : last;
        String host = leaveOut(failure.host());
        String end = failures.add(error, step, host != null);
        if (end != null) {
            throw gaveUp(end, error);
        }
        Duration backoff = failures.backoff();
        String cause = firstLine(error);
        int checkpoint = gangs.newestCheckpoint();
        console.accept(String.format(
                Locale.ROOT,
                "restart %d of %d in %.1f s: %s%s; continues %s",
                failures.restarts(),
                settings.maxRestarts(),
                backoff.toMillis() * 1e-3,
                cause,
                host == null ? "" : "; leaves out host " + host,
                checkpoint == 0 ? "from the start" : "after step " + checkpoint));
        sleep(backoff, error);
        return new Attempt(
                failures.restarts() + 1, worldSize(error), leftOut.stream().toList(), cause);
    }

    /** The host, when from now on its slots stay unused: it failed too often, and there are enough slots elsewhere. */
    private @Nullable String leaveOut(@Nullable String host) {
        if (host == null || !failures.isTooMuchFor(host) || leftOut.contains(host)) {
            return null;
        }
        leftOut.add(host);
        int elsewhere = gangs.slots(leftOut);
        if (elsewhere >= config.parallel().worldSize() || smaller(elsewhere).isPresent()) {
            return host;
        }
        leftOut.remove(host);
        return null;
    }

    /** Ranks of the next gang, once there are slots enough. */
    private int worldSize(RuntimeException error) {
        int full = config.parallel().worldSize();
        long end = pause.nanoTime() + Math.round(settings.waitSeconds() * 1e9);
        int slots = gangs.slots(leftOut);
        while (slots < full && pause.nanoTime() < end) {
            sleep(POLL, error);
            slots = gangs.slots(leftOut);
        }
        if (slots >= full) {
            return full;
        }
        OptionalInt smaller = smaller(slots);
        if (smaller.isEmpty()) {
            throw gaveUp(
                    String.format(
                            Locale.ROOT,
                            "after %.0f s only %d of %d slots are there%s",
                            settings.waitSeconds(),
                            slots,
                            full,
                            settings.minWorldSize() == 0
                                    ? " (run.restart.min_world_size would allow fewer ranks)"
                                    : ", and no world of at least " + settings.minWorldSize()
                                            + " ranks fits the mapping and the global batch"),
                    error);
        }
        console.accept(String.format(
                Locale.ROOT,
                "only %d of %d slots came back in %.0f s: continues with %d ranks, the global batch stays the same",
                slots,
                full,
                settings.waitSeconds(),
                smaller.getAsInt()));
        return smaller.getAsInt();
    }

    private OptionalInt smaller(int slots) {
        return settings.minWorldSize() == 0
                ? OptionalInt.empty()
                : SmallerWorld.largest(config, slots, settings.minWorldSize());
    }

    private TrainingException gaveUp(String why, RuntimeException error) {
        int restarts = failures.restarts();
        int checkpoint = gangs.newestCheckpoint();
        return new TrainingException(
                TrainingException.Code.TRAIN_GAVE_UP,
                "gave up after " + restarts + (restarts == 1 ? " restart: " : " restarts: ") + why
                        + (checkpoint == 0
                                ? ". There is no checkpoint yet; remove the cause and run the same command to start again"
                                : ". Complete checkpoints remain (newest: step " + checkpoint
                                        + "); remove the cause and run the same command to continue")
                        + ". The last failure: "
                        + error.getMessage(),
                error);
    }

    private void sleep(Duration duration, RuntimeException error) {
        try {
            pause.sleep(duration);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw error;
        }
    }

    private static String firstLine(RuntimeException error) {
        String text = String.valueOf(error.getMessage());
        return text.lines().findFirst().orElse(text);
    }
}
