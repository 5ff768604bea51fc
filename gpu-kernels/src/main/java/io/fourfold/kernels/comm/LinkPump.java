package io.fourfold.kernels.comm;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.channels.ClosedByInterruptException;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.function.Function;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;

/**
 * Moves the links of one member. All links of an operation move together in the calling thread, so no order of sending and
 * receiving between members can block; when nothing moves the thread sleeps in a selector.
 */
final class LinkPump {
    private final TcpGroup group;
    private volatile @Nullable Selector selector;
    private volatile boolean closed;

    LinkPump(TcpGroup group) {
        this.group = group;
    }

    /** Connects; what goes wrong breaks the world. */
    interface Connecting<T> {
        T connect(Selector selector) throws IOException, InterruptedException;
    }

    /** Runs something that makes connections. */
    <T> T connecting(String what, Connecting<T> action) {
        try {
            return action.connect(opened());
        } catch (ClosedByInterruptException e) {
            throw group.interrupted(what, e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw group.interrupted(what, e);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private Selector opened() throws IOException {
        Selector current = selector;
        if (current == null) {
            current = Selector.open();
            selector = current;
            group.hub().watch(current);
        }
        return current;
    }

    /**
     * Moves links until each is finished.
     *
     * @param advance does what arrivals allow; true when it did something
     * @param late which world ranks are to blame if these links are not finished in time
     */
    void drive(
            String what,
            List<TcpLink> links,
            Predicate<TcpLink> finished,
            BooleanSupplier advance,
            Function<List<TcpLink>, List<Integer>> late) {
        long last = System.nanoTime();
        try {
            while (true) {
                group.throwIfAborted(what);
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
                throwIfLost(what, open);
                long nanos = group.hub().timeout().toNanos() - (System.nanoTime() - last);
                if (nanos <= 0) {
                    throw group.timedOut(what, late.apply(open));
                }
                await(what, links, nanos);
            }
        } finally {
            // What arrives for the next operation must not wake the threads of others.
            links.forEach(TcpLink::rest);
        }
    }

    private void throwIfLost(String what, List<TcpLink> open) {
        for (TcpLink link : open) {
            IOException failure = link.failure();
            if (failure != null) {
                throw group.lost(link.worldRank(), what, failure);
            }
        }
    }

    private void await(String what, List<TcpLink> links, long nanos) {
        Selector current = selector;
        if (current == null || closed) {
            throw group.refuse("communicator closed in " + what);
        }
        if (Thread.currentThread().isInterrupted()) {
            throw group.interrupted(what, new InterruptedException());
        }
        try {
            links.forEach(TcpLink::updateInterest);
            current.select(key -> {}, Math.max(1, TimeUnit.NANOSECONDS.toMillis(nanos)));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** From any thread; an operation under way fails. Closing again does nothing. */
    synchronized void close() {
        Selector current = selector;
        boolean again = closed;
        closed = true;
        if (again || current == null) {
            return;
        }
        group.hub().unwatch(current);
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
