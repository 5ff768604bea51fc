package io.fourfold.kernels.comm;

import java.io.IOException;
import java.time.Duration;
import java.util.List;

/** Which group a member belongs to, and how its operations fail: each failure breaks the world and says who and where. */
final class TcpGroup {
    /** The explanation of a lost connection (abort, farewell) comes on another connection: give it this time. */
    private static final Duration EXPLANATION = Duration.ofSeconds(1);

    private final TcpWorld world;
    private final TcpHub hub;
    private final String name;
    private final List<Integer> members;
    private final String purpose;
    private final int rank;

    /**
     * @param purpose tells groups of one name apart, on every member alike
     */
    TcpGroup(TcpWorld world, TcpHub hub, String name, List<Integer> members, String purpose) {
        this.world = world;
        this.hub = hub;
        this.name = name;
        this.members = members;
        this.purpose = purpose;
        this.rank = members.indexOf(hub.rank());
    }

    TcpHub hub() {
        return hub;
    }

    /** Index of this rank within the group. */
    int rank() {
        return rank;
    }

    int size() {
        return members.size();
    }

    int worldRank(int member) {
        return members.get(member);
    }

    /** What collectives' connections are for. */
    String purpose() {
        return purpose;
    }

    /** What messages' connections are for. */
    String messagePurpose() {
        return "messages of " + purpose;
    }

    /** Runs an operation and notes it in the trace. */
    void traced(String what, Runnable operation) {
        long number = hub.trace().begin(name, what);
        try {
            throwIfAborted(what);
            operation.run();
        } catch (CommunicationException e) {
            throw e;
        } catch (RuntimeException | Error e) {
            // For example a header that cannot be read, or no memory: nobody may wait for this rank.
            world.abort(describe() + ": " + what + " failed: " + e);
            throw e;
        }
        hub.trace().end(number);
    }

    void throwIfAborted(String what) {
        String reason = hub.abortReason();
        if (reason != null) {
            throw new CommunicationException(describe() + ": " + what + " is broken: " + reason);
        }
    }

    CommunicationException lost(int peer, String what, IOException cause) {
        hub.awaitNewsOf(peer, EXPLANATION);
        throwIfAborted(what);
        if (hub.hasLeft(peer)) {
            return gone(peer, what);
        }
        CommunicationException lost = refuse(
                "lost " + hub.describe(peer) + " in " + what + ": " + cause + ". Look at that rank's executor log");
        lost.initCause(cause);
        return lost;
    }

    CommunicationException gone(int peer, String what) {
        return refuse("waited in " + what + " for world ranks [" + peer + "], which have left");
    }

    CommunicationException timedOut(String what, List<Integer> missing) {
        Lateness late = Lateness.of(hub.timeout(), what, hub.rank(), missing, world.activities());
        String reason = describe() + ": " + late.text();
        world.abort(reason, late.ranks());
        throwIfAborted(what);
        return new CommunicationException(reason);
    }

    CommunicationException interrupted(String what, Exception cause) {
        CommunicationException broken = refuse("interrupted in " + what);
        broken.initCause(cause);
        return broken;
    }

    /** Breaks the world and says why. */
    CommunicationException refuse(String problem) {
        String reason = describe() + ": " + problem;
        world.abort(reason);
        return new CommunicationException(reason);
    }

    String describe() {
        return "group '" + name + "' " + members + ", world rank " + hub.rank();
    }
}
