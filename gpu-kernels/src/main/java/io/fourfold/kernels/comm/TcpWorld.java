package io.fourfold.kernels.comm;

import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.channels.SocketChannel;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CopyOnWriteArrayList;
import org.jspecify.annotations.Nullable;

/**
 * Ranks in processes of their own, on one machine or several. Results have the same bits as those of {@link
 * InProcessWorld}: sums are taken in ascending rank order through {@link RankReduction}.
 *
 * <p><b>Transport.</b> Plain {@code java.nio} channels, not Netty: a collective is one blocking call of one thread that
 * knows what comes next on every connection, so the rank's thread can move the bytes itself, from and to its arrays
 * through one direct buffer, and TCP's own flow control bounds the memory. An event loop would add threads, queues that
 * need bounds, and a hand-over for every operation; this module would need a dependency, too.
 *
 * <p><b>Connections.</b> Each pair of members of a group has a connection of its own, made at the group's first
 * collective, one more for each direction in which messages go ({@link TcpOutbox}), and each pair of ranks one for aborts
 * and farewells. All are authenticated by a secret that the ranks
 * share ({@link TcpHandshake}); data are not encrypted.
 *
 * <p>A rank that dies, leaves while others still need it, is interrupted, or waits longer than the timeout breaks the
 * world on every rank with a {@link CommunicationException} that names it and the operation.
 */
public final class TcpWorld implements WatchableWorld {
    private final TcpHub hub;
    private final TcpControl control;
    private final Map<String, Integer> occurrences = new HashMap<>();
    private final List<TcpCommunicator> communicators = new CopyOnWriteArrayList<>();
    private final Object closing = new Object();
    private boolean closed;

    private TcpWorld(TcpHub hub, TcpControl control) {
        this.hub = hub;
        this.control = control;
    }

    /**
     * Connects with all other ranks. Collective: every rank calls it at about the same time.
     *
     * @param endpoint this rank's own; closed with the world, also when this fails
     * @param addresses every rank's {@link TcpEndpoint#address}, by rank
     * @param secret the same on every rank and known to nobody else, at least 16 bytes
     * @param startTimeout how long to wait for the others now
     * @param timeout how long an operation may go without any progress
     * @throws CommunicationException naming the ranks that did not connect
     */
    public static TcpWorld connect(
            TcpEndpoint endpoint,
            int rank,
            List<InetSocketAddress> addresses,
            byte[] secret,
            Duration startTimeout,
            Duration timeout) {
        if (rank < 0 || rank >= addresses.size() || secret.length < 16) {
            throw new IllegalArgumentException("rank " + rank + " of " + addresses.size() + " with a secret of "
                    + secret.length + " bytes: needs a rank below the number of addresses and at least 16 bytes");
        }
        TcpHub hub = new TcpHub(endpoint, rank, addresses, secret, timeout);
        Map<Integer, SocketChannel> peers = new TreeMap<>();
        try {
            meet(hub, peers, startTimeout);
            return new TcpWorld(hub, new TcpControl(hub, peers));
        } catch (CommunicationException e) {
            hub.close();
            peers.values().forEach(TcpHub::closeQuietly);
            throw e;
        }
    }

    private static void meet(TcpHub hub, Map<Integer, SocketChannel> peers, Duration startTimeout) {
        long end = System.nanoTime() + startTimeout.toNanos();
        for (int peer = 0; peer < hub.size(); peer++) {
            if (peer == hub.rank()) {
                continue;
            }
            String where = "world rank " + hub.rank() + " cannot join: " + hub.describe(peer);
            try {
                SocketChannel channel = hub.connection(peer, TcpControl.PURPOSE, end - System.nanoTime());
                if (channel == null) {
                    throw new CommunicationException(where + " did not connect within " + startTimeout.toSeconds()
                            + " s. It may have failed (see its executor's log), or a firewall keeps executors apart");
                }
                peers.put(peer, channel);
            } catch (IOException e) {
                throw new CommunicationException(
                        where + " cannot be reached: " + e + ". It may have failed (see its executor's log), or a"
                                + " firewall keeps executors apart",
                        e);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                throw new CommunicationException(where + " was awaited when this rank was interrupted", e);
            }
        }
    }

    @Override
    public int rank() {
        return hub.rank();
    }

    @Override
    public int size() {
        return hub.size();
    }

    @Override
    public Communicator group(String name, List<Integer> worldRanks) {
        List<Integer> members = GroupMembers.of(name, worldRanks, rank(), size());
        String reason = hub.abortReason();
        if (reason != null) {
            throw new CommunicationException("group '" + name + "' is broken: " + reason);
        }
        int occurrence;
        synchronized (occurrences) {
            occurrence = occurrences.merge(name + members, 1, Integer::sum);
        }
        String purpose = "group " + name + members + "#" + occurrence;
        TcpCommunicator communicator = new TcpCommunicator(this, hub, name, members, purpose);
        communicators.add(communicator);
        return communicator;
    }

    @Override
    public void abort(String reason) {
        abort(reason, List.of());
    }

    @Override
    public void abort(String reason, List<Integer> lateRanks) {
        synchronized (closing) {
            if (hub.abort(reason, lateRanks) && !closed) {
                control.abort(reason, lateRanks);
            }
        }
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
        hub.trace().note(group, operation);
    }

    @Override
    public Activity activity() {
        return hub.trace().activity();
    }

    /** What the other ranks do, by world rank; those whose process does not answer are missing. */
    Map<Integer, Activity> activities() {
        return control.activities();
    }

    @Override
    public List<Integer> leave(Duration patience) throws InterruptedException {
        control.sayFarewell();
        return hub.awaitDeparture(patience);
    }

    @Override
    public List<String> lastOperations() {
        return hub.trace().lines();
    }

    /** Leaves the world. Peers that still wait for this rank, or will, get a {@link CommunicationException}. */
    @Override
    public void close() {
        // Who leaves is not waited for any more: first what was sent must be on its way.
        communicators.forEach(TcpCommunicator::drain);
        synchronized (closing) {
            if (closed) {
                return;
            }
            closed = true;
        }
        control.leave();
        hub.close();
        new ArrayList<>(communicators).forEach(TcpCommunicator::close);
        control.close();
    }

    @Override
    public String toString() {
        return hub.describe(rank()) + " of " + size();
    }
}
