package io.fourfold.kernels.comm;

import io.fourfold.kernels.cpu.CpuTensor;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.channels.ClosedByInterruptException;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.function.Consumer;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;

/**
 * Runs the operations of one member of a group over its links. All links move together in the calling thread, so no order
 * of sending and receiving between members can block; when nothing moves the thread sleeps in a selector.
 *
 * <p>A collective starts with a header that says what is called; payload follows once the peer's call is there and fits.
 */
final class TcpExchange {
    /** The explanation of a lost connection (abort, farewell) comes on another connection: give it this time. */
    private static final Duration EXPLANATION = Duration.ofSeconds(1);

    private final TcpWorld world;
    private final TcpHub hub;
    private final String name;
    private final List<Integer> members;
    private final String purpose;
    private final WireFormat format;
    private final int rank;
    private final List<TcpLink> links = new ArrayList<>();
    private volatile @Nullable Selector selector;
    private volatile boolean closed;

    TcpExchange(TcpWorld world, TcpHub hub, String name, List<Integer> members, String purpose, WireFormat format) {
        this.world = world;
        this.hub = hub;
        this.name = name;
        this.members = members;
        this.purpose = purpose;
        this.format = format;
        this.rank = members.indexOf(hub.rank());
    }

    /**
     * A collective.
     *
     * @param parts adds to a link what is written to and read from its peer
     * @param reduction to be advanced as parts arrive
     */
    void run(CollectiveCall call, Consumer<TcpLink> parts, @Nullable StagedReduction reduction) {
        String what = call.describe();
        traced(what, () -> {
            throwIfAborted(what);
            if (members.size() == 1) {
                if (reduction != null) {
                    reduction.advanceAll();
                }
                return;
            }
            open(what);
            List<TcpLink> strangers = new ArrayList<>(links);
            for (TcpLink link : links) {
                link.write(Outgoing.bytes(WireFormat.header(call)));
            }
            Predicate<TcpLink> finished = link -> !strangers.contains(link) && link.isFlushed() && link.isRead();
            drive(what, finished, () -> {
                boolean moved = strangers.removeIf(link -> begin(link, call, parts));
                return moved | (reduction != null && reduction.advance());
            });
        });
    }

    /** Compares the peer's call with this member's once it is there. */
    private boolean begin(TcpLink link, CollectiveCall call, Consumer<TcpLink> parts) {
        CollectiveCall theirs = link.nextCall();
        if (theirs == null) {
            return false;
        }
        boolean first = rank < link.member();
        CollectiveCall lower = first ? call : theirs;
        CollectiveCall higher = first ? theirs : call;
        int a = Math.min(rank, link.member());
        int b = Math.max(rank, link.member());
        String problem = CollectiveCall.mismatch(lower, a, higher, b);
        if (problem != null) {
            throw refuse(problem + ": world rank " + members.get(a) + " called " + lower.describe() + " but world rank "
                    + members.get(b) + " called " + higher.describe());
        }
        link.beginNextCall();
        parts.accept(link);
        return true;
    }

    void send(CpuTensor values, int peer) {
        String what = "send(" + values + ") to member " + peer;
        traced(what, () -> {
            throwIfAborted(what);
            open(what);
            TcpLink link = link(peer);
            link.write(Outgoing.bytes(WireFormat.messageHeader(values)));
            link.write(Outgoing.part(format, values, 0, values.size(), values::size));
            drive(what, other -> other != link || link.isFlushed(), () -> false);
        });
    }

    Message receive(CpuTensor values, int peer) {
        String what = "receive(" + values + ") from member " + peer;
        traced(what, () -> {
            throwIfAborted(what);
            open(what);
            TcpLink link = link(peer);
            drive(what, other -> other != link || !link.messages().isEmpty(), () -> {
                CollectiveCall theirs = link.nextCall();
                if (theirs != null && link.messages().isEmpty()) {
                    throw refuse("different operations: it waits in " + what + ", but world rank " + link.worldRank()
                            + " called " + theirs.describe());
                }
                return false;
            });
        });
        return link(peer).messages().remove();
    }

    private TcpLink link(int peer) {
        return links.get(peer < rank ? peer : peer - 1);
    }

    private void traced(String what, Runnable operation) {
        long number = hub.trace().begin(name, what);
        try {
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

    /** Moves all links until each is finished. */
    private void drive(String what, Predicate<TcpLink> finished, BooleanSupplier advance) {
        long last = System.nanoTime();
        while (true) {
            throwIfAborted(what);
            boolean moved = false;
            for (TcpLink link : links) {
                moved |= link.pump();
            }
            moved |= advance.getAsBoolean();
            List<TcpLink> open =
                    links.stream().filter(link -> !finished.test(link)).toList();
            if (open.isEmpty()) {
                return;
            }
            if (moved) {
                last = System.nanoTime();
                continue;
            }
            for (TcpLink link : open) {
                IOException failure = link.failure();
                if (failure != null) {
                    throw lost(link.worldRank(), what, failure);
                }
            }
            long nanos = hub.timeout().toNanos() - (System.nanoTime() - last);
            if (nanos <= 0) {
                throw timedOut(what, open.stream().map(TcpLink::worldRank).toList());
            }
            await(what, nanos);
        }
    }

    private void await(String what, long nanos) {
        Selector current = selector;
        if (current == null || closed) {
            throw refuse("communicator closed in " + what);
        }
        if (Thread.currentThread().isInterrupted()) {
            throw interrupted(what, new InterruptedException());
        }
        try {
            links.forEach(TcpLink::updateInterest);
            current.select(key -> {}, Math.max(1, TimeUnit.NANOSECONDS.toMillis(nanos)));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** Connects with the other members, if that has not been done. */
    private void open(String what) {
        if (selector != null || members.size() == 1) {
            return;
        }
        long end = System.nanoTime() + hub.timeout().toNanos();
        try {
            Selector made = Selector.open();
            selector = made;
            hub.watch(made);
            for (int member = 0; member < members.size(); member++) {
                if (member != rank) {
                    SocketChannel channel = connection(what, members.get(member), end - System.nanoTime());
                    links.add(new TcpLink(member, members.get(member), channel, made, format));
                }
            }
        } catch (ClosedByInterruptException e) {
            throw interrupted(what, e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw interrupted(what, e);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private SocketChannel connection(String what, int peer, long nanos) throws IOException, InterruptedException {
        SocketChannel channel;
        try {
            channel = hub.connection(peer, purpose, nanos);
        } catch (ClosedByInterruptException e) {
            throw e;
        } catch (IOException e) {
            throw lost(peer, what, e);
        }
        if (channel != null) {
            return channel;
        }
        throwIfAborted(what);
        if (hub.hasLeft(peer)) {
            throw gone(peer, what);
        }
        throw timedOut(what, List.of(peer));
    }

    private void throwIfAborted(String what) {
        String reason = hub.abortReason();
        if (reason != null) {
            throw new CommunicationException(describe() + ": " + what + " is broken: " + reason);
        }
    }

    private CommunicationException lost(int peer, String what, IOException cause) {
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

    private CommunicationException gone(int peer, String what) {
        return refuse("waited in " + what + " for world ranks [" + peer + "], which have left");
    }

    private CommunicationException timedOut(String what, List<Integer> missing) {
        return refuse("waited " + hub.timeout().toSeconds() + " s without progress in " + what
                + "; not there: world ranks " + missing
                + ". They may have failed or hang, or call operations in another order.");
    }

    private CommunicationException interrupted(String what, Exception cause) {
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

    private String describe() {
        return "group '" + name + "' " + members + ", world rank " + hub.rank();
    }

    /** From any thread; an operation under way fails. Closing again does nothing. */
    synchronized void close() {
        Selector current = selector;
        boolean again = closed;
        closed = true;
        if (again || current == null) {
            return;
        }
        hub.unwatch(current);
        try {
            for (SelectionKey key : List.copyOf(current.keys())) {
                key.channel().close();
            }
            current.close();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
