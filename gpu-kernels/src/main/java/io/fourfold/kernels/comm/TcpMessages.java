package io.fourfold.kernels.comm;

import io.fourfold.kernels.cpu.CpuTensor;
import java.nio.channels.SocketChannel;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.ConcurrentHashMap;

/**
 * Point-to-point messages of one member of a group. Each direction between two members has a connection of its own, apart
 * from collectives: a message that nobody takes yet is in nobody's way.
 */
final class TcpMessages {
    private final TcpGroup group;
    private final WireFormat format;
    private final LinkPump pump;
    private final Map<Integer, TcpOutbox> outboxes = new ConcurrentHashMap<>();
    private final Map<Integer, TcpLink> inboxes = new ConcurrentHashMap<>();

    TcpMessages(TcpGroup group, WireFormat format) {
        this.group = group;
        this.format = format;
        this.pump = new LinkPump(group);
    }

    /** Takes a copy and returns; messages to one member arrive in the order in which they were sent. */
    void send(CpuTensor values, int peer) {
        String what = "send(" + values + ") to member " + peer;
        group.traced(
                what,
                () -> outboxes.computeIfAbsent(peer, member -> outbox(group.worldRank(member)))
                        .add(Message.of(values)));
    }

    private TcpOutbox outbox(int worldRank) {
        // The rank itself learns of it in its next operation.
        return new TcpOutbox(group, worldRank, failure -> {
            try {
                throw group.lost(worldRank, "sending messages", failure);
            } catch (CommunicationException known) {
                // the world is broken now, and says why
            }
        });
    }

    /** Waits for the oldest message of a member that was not received yet. */
    Message receive(CpuTensor values, int peer) {
        String what = "receive(" + values + ") from member " + peer;
        group.traced(what, () -> {
            TcpLink link = inboxes.computeIfAbsent(peer, member -> inbox(what, member));
            pump.drive(
                    what,
                    List.of(link),
                    inbox -> !inbox.messages().isEmpty(),
                    () -> false,
                    open -> List.of(group.worldRank(peer)));
        });
        return Objects.requireNonNull(inboxes.get(peer)).messages().remove();
    }

    private TcpLink inbox(String what, int member) {
        int peer = group.worldRank(member);
        long nanos = group.hub().timeout().toNanos();
        return pump.connecting(what, selector -> {
            SocketChannel channel = group.hub().caller(peer, group.messagePurpose(), nanos);
            if (channel == null) {
                group.throwIfAborted(what);
                throw group.hub().hasLeft(peer) ? group.gone(peer, what) : group.timedOut(what, List.of(peer));
            }
            return new TcpLink(member, peer, channel, selector, format);
        });
    }

    /** Gives what was sent the time to reach the network. */
    void drain() {
        outboxes.values().forEach(outbox -> outbox.drain(group.hub().timeout()));
    }

    void close() {
        outboxes.values().forEach(TcpOutbox::close);
        pump.close();
    }
}
