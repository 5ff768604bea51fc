package io.fourfold.kernels.comm;

import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * What the ranks of one in-process world share: who is there, the groups, and the reason it broke, if it did. One lock
 * guards all of it, the groups included: it is held only for bookkeeping, never while data moves.
 */
final class InProcessHub {
    private static final ConcurrentMap<String, InProcessHub> REGISTRY = new ConcurrentHashMap<>();

    private final ReentrantLock lock = new ReentrantLock();
    private final String name;
    private final int size;
    private final Duration timeout;
    private final boolean[] joined;
    private final boolean[] left;
    private final Map<String, InProcessGroup> groups = new HashMap<>();
    private final List<CollectiveTrace> traces;
    private final Condition departure;
    private volatile List<Integer> lateRanks = List.of();
    private volatile @Nullable String abortReason;

    private InProcessHub(String name, int size, Duration timeout) {
        if (size < 1) {
            throw new IllegalArgumentException("a world needs at least 1 rank, got " + size);
        }
        this.name = name;
        this.size = size;
        this.timeout = timeout;
        this.joined = new boolean[size];
        this.left = new boolean[size];
        this.traces =
                IntStream.range(0, size).mapToObj(rank -> new CollectiveTrace()).toList();
        this.departure = lock.newCondition();
    }

    static InProcessHub unregistered(int size, Duration timeout) {
        return new InProcessHub("in-process world", size, timeout);
    }

    static InProcessHub join(String runId, int rank, int size, Duration timeout) {
        return REGISTRY.compute(runId, (id, existing) -> {
            InProcessHub hub = existing == null ? new InProcessHub(id, size, timeout) : existing;
            hub.enter(rank, size);
            return hub;
        });
    }

    int size() {
        return size;
    }

    Duration timeout() {
        return timeout;
    }

    ReentrantLock lock() {
        return lock;
    }

    void enter(int rank, int expectedSize) {
        lock.lock();
        try {
            if (expectedSize != size) {
                throw new CommunicationException("rank " + rank + " joins run '" + name + "' with size " + expectedSize
                        + ", but the first rank to join gave size " + size);
            }
            if (rank < 0 || rank >= size) {
                throw new CommunicationException("rank " + rank + " is outside run '" + name + "' of size " + size);
            }
            if (joined[rank]) {
                throw new CommunicationException("rank " + rank + " has joined run '" + name
                        + "' already; does an earlier attempt still run, or do two tasks have the same rank?");
            }
            joined[rank] = true;
        } finally {
            lock.unlock();
        }
    }

    InProcessGroup group(String groupName, List<Integer> members, int occurrence) {
        lock.lock();
        try {
            throwIfAborted("group '" + groupName + "'");
            return groups.computeIfAbsent(
                    groupName + members + "#" + occurrence, key -> new InProcessGroup(this, groupName, members));
        } finally {
            lock.unlock();
        }
    }

    /** Operations of a rank. */
    CollectiveTrace trace(int rank) {
        return traces.get(rank);
    }

    /** What the ranks do that have not left. */
    Map<Integer, Activity> activities() {
        Map<Integer, Activity> activities = new TreeMap<>();
        lock.lock();
        try {
            for (int rank = 0; rank < size; rank++) {
                if (!left[rank]) {
                    activities.put(rank, traces.get(rank).activity());
                }
            }
        } finally {
            lock.unlock();
        }
        return activities;
    }

    @Nullable
    String abortReason() {
        return abortReason;
    }

    List<Integer> lateRanks() {
        return lateRanks;
    }

    /** Keeps the first reason and wakes everybody who waits. */
    void abort(String reason, List<Integer> late) {
        lock.lock();
        try {
            if (abortReason == null) {
                lateRanks = List.copyOf(late);
                abortReason = reason;
            }
            groups.values().forEach(InProcessGroup::wakeAll);
        } finally {
            lock.unlock();
        }
    }

    void throwIfAborted(String where) {
        String reason = abortReason;
        if (reason != null) {
            throw new CommunicationException(where + " is broken: " + reason);
        }
    }

    /** The last rank to leave takes the world out of the registry. */
    void leave(int rank) {
        boolean empty = true;
        lock.lock();
        try {
            left[rank] = true;
            departure.signalAll();
            groups.values().forEach(InProcessGroup::wakeAll);
            for (boolean gone : left) {
                empty &= gone;
            }
        } finally {
            lock.unlock();
        }
        if (empty) {
            // Not under the lock: a joining rank locks the registry first and this hub second.
            REGISTRY.remove(name, this);
        }
    }

    /** Waits until all others have left; returns those that have not. */
    List<Integer> awaitDeparture(int rank, Duration patience) throws InterruptedException {
        long nanos = patience.toNanos();
        lock.lockInterruptibly();
        try {
            while (true) {
                List<Integer> there = IntStream.range(0, size)
                        .filter(peer -> peer != rank && !left[peer])
                        .boxed()
                        .toList();
                if (there.isEmpty() || nanos <= 0) {
                    return there;
                }
                nanos = departure.awaitNanos(nanos);
            }
        } finally {
            lock.unlock();
        }
    }

    /** Called under the lock. */
    boolean hasLeft(int rank) {
        return left[rank];
    }

    @Override
    public String toString() {
        return name + " (" + size + " ranks)";
    }
}
