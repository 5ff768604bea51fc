package io.fourfold.kernels.comm;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Ranks that are threads of one JVM. Collectives read and write the other ranks' arrays directly: every member reduces
 * its own slice, so members work in parallel and the result does not depend on timing.
 *
 * <p>A rank that closes its world (or is interrupted, or waits longer than the timeout) while others still need it breaks
 * the whole world, so nobody waits for a rank that is gone.
 */
public final class InProcessWorld implements WatchableWorld {
    /** How long a rank waits for its peers: longer than any step, evaluation or checkpoint should take. */
    public static final Duration DEFAULT_TIMEOUT = Duration.ofMinutes(30);

    private final InProcessHub hub;
    private final int rank;
    private final Map<String, Integer> occurrences = new HashMap<>();

    private InProcessWorld(InProcessHub hub, int rank) {
        this.hub = hub;
        this.rank = rank;
    }

    /**
     * Enters the world that all callers with the same id share.
     *
     * @param runId unique to this attempt of the run: a restarted run must not meet threads of its predecessor
     * @throws CommunicationException when the rank has joined before, or the others expect another size
     */
    public static InProcessWorld join(String runId, int rank, int size) {
        return join(runId, rank, size, DEFAULT_TIMEOUT);
    }

    /** The same with another limit on how long a rank waits for its peers. */
    public static InProcessWorld join(String runId, int rank, int size, Duration timeout) {
        return new InProcessWorld(InProcessHub.join(runId, rank, size, timeout), rank);
    }

    /** A world of its own for every call, all ranks at once: one element per rank, each for a thread of its own. */
    public static List<InProcessWorld> create(int size) {
        return create(size, DEFAULT_TIMEOUT);
    }

    /** The same with another limit on how long a rank waits for its peers. */
    public static List<InProcessWorld> create(int size, Duration timeout) {
        InProcessHub hub = InProcessHub.unregistered(size, timeout);
        List<InProcessWorld> worlds = new ArrayList<>();
        for (int rank = 0; rank < size; rank++) {
            hub.enter(rank, size);
            worlds.add(new InProcessWorld(hub, rank));
        }
        return List.copyOf(worlds);
    }

    @Override
    public int rank() {
        return rank;
    }

    @Override
    public int size() {
        return hub.size();
    }

    @Override
    public Communicator group(String name, List<Integer> worldRanks) {
        List<Integer> members = GroupMembers.of(name, worldRanks, rank, hub.size());
        int occurrence;
        synchronized (occurrences) {
            occurrence = occurrences.merge(name + members, 1, Integer::sum);
        }
        return new InProcessCommunicator(hub.group(name, members, occurrence), members.indexOf(rank));
    }

    @Override
    public void abort(String reason) {
        abort(reason, List.of());
    }

    @Override
    public void abort(String reason, List<Integer> lateRanks) {
        hub.abort(reason, lateRanks);
    }

    @Override
    public @Nullable String abortReason() {
        return hub.abortReason();
    }

    @Override
    public List<Integer> lateRanks() {
        return hub.lateRanks();
    }

    @Override
    public void note(String group, String operation) {
        hub.trace(rank).note(group, operation);
    }

    @Override
    public Activity activity() {
        return hub.trace(rank).activity();
    }

    @Override
    public List<String> lastOperations() {
        return hub.trace(rank).lines();
    }

    @Override
    public List<Integer> leave(Duration patience) throws InterruptedException {
        hub.leave(rank);
        return hub.awaitDeparture(rank, patience);
    }

    /** Leaves the world. Peers that still wait for this rank, or will, get a {@link CommunicationException}. */
    @Override
    public void close() {
        hub.leave(rank);
    }

    @Override
    public String toString() {
        return "rank " + rank + " of " + hub;
    }
}
