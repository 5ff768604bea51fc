package io.fourfold.spark;

import io.fourfold.kernels.comm.WatchableWorld;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.function.BooleanSupplier;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * Looks after one rank from a thread of its own, for a rank that hangs cannot say so. It breaks the world when the rank takes
 * longer than a step may between two collectives, or when Spark has cancelled its task; and once the world is broken,
 * whoever did it, it interrupts a rank that does not end.
 */
final class RankWatchdog implements AutoCloseable {
    /** The rank may need this long to notice by itself that the world broke. */
    private static final Duration GRACE = Duration.ofSeconds(2);

    private static final int SHOWN_FRAMES = 4;

    private final WatchableWorld world;
    private final String host;
    private final Thread rank = Thread.currentThread();
    private final Duration limit;
    private final BooleanSupplier cancelled;
    private final RankDump dump;
    private final Thread watcher;
    private volatile boolean closed;
    private volatile @Nullable String verdict;
    private volatile boolean interrupted;

    /**
     * Watches the rank that the calling thread runs.
     *
     * @param limit how long it may be without a collective
     * @param cancelled true when Spark wants the task to end
     */
    RankWatchdog(WatchableWorld world, String host, Duration limit, BooleanSupplier cancelled, RankDump dump) {
        this.world = world;
        this.host = host;
        this.limit = limit;
        this.cancelled = cancelled;
        this.dump = dump;
        this.watcher = new Thread(this::watch, "fourfold-watchdog-" + world.rank());
        watcher.setDaemon(true);
        watcher.start();
    }

    private void watch() {
        long poll = Math.max(20, Math.min(500, limit.toMillis() / 10));
        try {
            while (!closed && world.abortReason() == null) {
                if (cancelled.getAsBoolean()) {
                    world.abort("Spark cancelled the task of " + here());
                } else {
                    checkLate();
                }
                Thread.sleep(poll);
            }
            end();
        } catch (InterruptedException e) {
            // closed
        }
    }

    /** A rank alone has nobody who waits for it. */
    private void checkLate() {
        var activity = world.activity();
        if (world.size() > 1 && !activity.inOperation() && activity.millis() > limit.toMillis()) {
            world.abort(
                    here() + " hangs or is too slow: " + activity.describe() + ", at " + place()
                            + ". If a step, evaluation or checkpoint may take this long, raise"
                            + " run.timeouts.step_seconds (" + limit.toSeconds() + ")",
                    List.of(world.rank()));
        }
    }

    /** The world is broken: sees to it that the rank ends, and keeps what it was doing. */
    private void end() throws InterruptedException {
        if (closed) {
            return;
        }
        String reason = String.valueOf(world.abortReason());
        if (world.lateRanks().contains(world.rank())) {
            verdict = reason.startsWith(here()) ? reason : here() + " was at " + place() + ": " + reason;
            dump.write(reason, rank.getStackTrace());
        }
        Thread.sleep(GRACE.toMillis());
        if (!closed) {
            dump.write(reason, rank.getStackTrace());
            interrupted = true;
            rank.interrupt();
        }
    }

    /** Null unless this rank is the one for which others waited in vain; then what is known of it. */
    @Nullable
    String verdict() {
        return verdict;
    }

    /** True when the rank did not end by itself after another rank had broken the world. */
    boolean hasInterrupted() {
        return interrupted;
    }

    private String here() {
        return "rank " + world.rank() + " on " + host;
    }

    private String place() {
        StackTraceElement[] stack = rank.getStackTrace();
        return Arrays.stream(stack)
                .limit(SHOWN_FRAMES)
                .map(StackTraceElement::toString)
                .collect(Collectors.joining(" < "));
    }

    /** The rank has ended. */
    @Override
    public void close() {
        closed = true;
        watcher.interrupt();
        if (interrupted) {
            // Ours, not Spark's: what follows may wait and write.
            boolean unused = Thread.interrupted();
        }
    }
}
