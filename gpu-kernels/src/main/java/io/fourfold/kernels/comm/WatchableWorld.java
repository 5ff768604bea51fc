package io.fourfold.kernels.comm;

import java.time.Duration;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** A world that says what its ranks do, so that a watchdog can tell who hangs. All methods may be called by any thread. */
public interface WatchableWorld extends CommunicationWorld {
    /** Why the world broke; null while it works. */
    @Nullable
    String abortReason();

    /** World ranks whose fault the abort is, when others waited for them in vain; otherwise empty. */
    List<Integer> lateRanks();

    /** As {@link #abort(String)}, and says whose fault it is. */
    void abort(String reason, List<Integer> lateRanks);

    /**
     * Notes an operation of this rank that goes another way than through this world, as between GPUs: it shows that the rank
     * is alive, and is among the {@link #lastOperations}.
     */
    void note(String group, String operation);

    /** What this rank does now. */
    Activity activity();

    /**
     * The last operations of this rank, the oldest first: number, begin, duration or "not finished", group, call with types
     * and sizes. Also when the world is broken or closed.
     */
    List<String> lastOperations();

    /**
     * Leaves the world and waits until all others have left, too, or their processes have ended. Ends early when
     * interrupted.
     *
     * @return world ranks that are still there after that time
     */
    List<Integer> leave(Duration patience) throws InterruptedException;
}
