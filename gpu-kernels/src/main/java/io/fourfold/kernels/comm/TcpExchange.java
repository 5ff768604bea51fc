package io.fourfold.kernels.comm;

import java.io.IOException;
import java.nio.channels.ClosedByInterruptException;
import java.nio.channels.SocketChannel;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;

/**
 * Runs the collectives of one member of a group over its links. A collective starts with a header that says what is
 * called; payload follows once the peer's call is there and fits.
 */
final class TcpExchange {
    private final TcpGroup group;
    private final WireFormat format;
    private final LinkPump pump;
    private final List<TcpLink> links = new ArrayList<>();

    TcpExchange(TcpGroup group, WireFormat format) {
        this.group = group;
        this.format = format;
        this.pump = new LinkPump(group);
    }

    /**
     * A collective.
     *
     * @param parts adds to a link what is written to and read from its peer
     * @param reduction to be advanced as parts arrive
     */
    void run(CollectiveCall call, Consumer<TcpLink> parts, @Nullable StagedReduction reduction) {
        String what = call.describe();
        group.traced(what, () -> {
            if (group.size() == 1) {
                if (reduction != null) {
                    reduction.advanceAll();
                }
                return;
            }
            if (links.isEmpty()) {
                open(what);
            }
            List<TcpLink> strangers = new ArrayList<>(links);
            for (TcpLink link : links) {
                link.write(Outgoing.bytes(WireFormat.header(call)));
            }
            Predicate<TcpLink> finished = link -> !strangers.contains(link) && link.isFlushed() && link.isRead();
            pump.drive(
                    what,
                    links,
                    finished,
                    () -> {
                        boolean moved = strangers.removeIf(link -> begin(link, call, parts));
                        return moved | (reduction != null && reduction.advance());
                    },
                    // Who has come waits, too, for those who have not.
                    open -> worldRanks(strangers.isEmpty() ? open : strangers));
        });
    }

    private static List<Integer> worldRanks(List<TcpLink> links) {
        return links.stream().map(TcpLink::worldRank).toList();
    }

    /** Compares the peer's call with this member's once it is there. */
    private boolean begin(TcpLink link, CollectiveCall call, Consumer<TcpLink> parts) {
        CollectiveCall theirs = link.nextCall();
        if (theirs == null) {
            return false;
        }
        boolean first = group.rank() < link.member();
        CollectiveCall lower = first ? call : theirs;
        CollectiveCall higher = first ? theirs : call;
        int a = Math.min(group.rank(), link.member());
        int b = Math.max(group.rank(), link.member());
        String problem = CollectiveCall.mismatch(lower, a, higher, b);
        if (problem != null) {
            throw group.refuse(problem + ": world rank " + group.worldRank(a) + " called " + lower.describe()
                    + " but world rank " + group.worldRank(b) + " called " + higher.describe());
        }
        link.beginNextCall();
        parts.accept(link);
        return true;
    }

    /** Connects with the other members. */
    private void open(String what) {
        long end = System.nanoTime() + group.hub().timeout().toNanos();
        pump.connecting(what, selector -> {
            for (int member = 0; member < group.size(); member++) {
                if (member != group.rank()) {
                    int peer = group.worldRank(member);
                    SocketChannel channel = connection(what, peer, end - System.nanoTime());
                    links.add(new TcpLink(member, peer, channel, selector, format));
                }
            }
            return links;
        });
    }

    private SocketChannel connection(String what, int peer, long nanos) throws IOException, InterruptedException {
        SocketChannel channel;
        try {
            channel = group.hub().connection(peer, group.purpose(), nanos);
        } catch (ClosedByInterruptException e) {
            throw e;
        } catch (IOException e) {
            throw group.lost(peer, what, e);
        }
        if (channel != null) {
            return channel;
        }
        group.throwIfAborted(what);
        if (group.hub().hasLeft(peer)) {
            throw group.gone(peer, what);
        }
        throw group.timedOut(what, List.of(peer));
    }

    void close() {
        pump.close();
    }
}
