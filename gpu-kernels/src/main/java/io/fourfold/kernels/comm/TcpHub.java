package io.fourfold.kernels.comm;

import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.channels.ClosedChannelException;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** One rank's view of the world: who has called, who has left, and the reason it broke, if it did. */
final class TcpHub {
    private static final Logger LOG = LoggerFactory.getLogger(TcpHub.class);

    /** Strangers may hold this many threads, each for the patience of a handshake. */
    private static final int HANDSHAKES_AT_ONCE = 8;

    /** A call is registered a moment after the caller knows that it was let in. */
    private static final long LAST_CALL_NANOS = TimeUnit.SECONDS.toNanos(1);

    private final int rank;
    private final List<InetSocketAddress> addresses;
    private final TcpEndpoint endpoint;
    private final TcpHandshake handshake;
    private final Duration timeout;
    private final ReentrantLock lock = new ReentrantLock();
    private final Condition changed = lock.newCondition();
    private final Map<TcpHandshake.Caller, SocketChannel> callers = new HashMap<>();
    private final Set<Selector> waiting = ConcurrentHashMap.newKeySet();
    private final boolean[] left;
    private final CollectiveTrace trace = new CollectiveTrace();
    private final ExecutorService handshakes;
    private volatile List<Integer> lateRanks = List.of();
    private volatile @Nullable String abortReason;
    private volatile boolean closed;

    TcpHub(TcpEndpoint endpoint, int rank, List<InetSocketAddress> addresses, byte[] secret, Duration timeout) {
        this.endpoint = endpoint;
        this.rank = rank;
        this.addresses = List.copyOf(addresses);
        this.handshake = new TcpHandshake(secret);
        this.timeout = timeout;
        this.left = new boolean[addresses.size()];
        ThreadPoolExecutor pool = new ThreadPoolExecutor(
                HANDSHAKES_AT_ONCE, HANDSHAKES_AT_ONCE, 10, TimeUnit.SECONDS, new LinkedBlockingQueue<>(), task -> {
                    return daemon(task, "handshake");
                });
        pool.allowCoreThreadTimeOut(true);
        this.handshakes = pool;
        daemon(this::accept, "accept").start();
    }

    int rank() {
        return rank;
    }

    int size() {
        return addresses.size();
    }

    Duration timeout() {
        return timeout;
    }

    CollectiveTrace trace() {
        return trace;
    }

    boolean isClosed() {
        return closed;
    }

    Thread daemon(Runnable task, String name) {
        Thread thread = new Thread(task, "fourfold-rank-" + rank + "-" + name);
        thread.setDaemon(true);
        return thread;
    }

    /** For example {@code world rank 2 (worker-7:40123)}. */
    String describe(int worldRank) {
        InetSocketAddress address = addresses.get(worldRank);
        return "world rank " + worldRank + " (" + address.getHostString() + ":" + address.getPort() + ")";
    }

    private void accept() {
        while (!closed) {
            try {
                SocketChannel channel = endpoint.server().accept();
                handshakes.execute(() -> answer(channel));
            } catch (ClosedChannelException e) {
                return;
            } catch (IOException | RuntimeException e) {
                if (!closed) {
                    abort("rank " + rank + " cannot accept connections any more: " + e, List.of());
                }
                return;
            }
        }
    }

    private void answer(SocketChannel channel) {
        try {
            TcpHandshake.Caller caller = handshake.answer(channel, rank);
            lock.lock();
            try {
                callers.put(caller, channel);
                changed.signalAll();
            } finally {
                lock.unlock();
            }
        } catch (IOException | RuntimeException e) {
            LOG.warn(
                    "Rank {} refused a connection from {}: {}",
                    rank,
                    channel.socket().getRemoteSocketAddress(),
                    e.toString());
            closeQuietly(channel);
        }
    }

    /** A connection with a rank for a purpose; the higher rank calls, the lower one waits for it. Null: not there yet. */
    @Nullable
    SocketChannel connection(int peer, String purpose, long nanos) throws IOException, InterruptedException {
        return peer < rank ? call(peer, purpose, nanos) : caller(peer, purpose, nanos, 0);
    }

    /** Calls a rank. */
    SocketChannel call(int peer, String purpose) throws IOException {
        return call(peer, purpose, timeout.toNanos());
    }

    private SocketChannel call(int peer, String purpose, long nanos) throws IOException {
        int millis = (int) Math.max(1, Math.min(Integer.MAX_VALUE, TimeUnit.NANOSECONDS.toMillis(nanos)));
        return handshake.call(addresses.get(peer), rank, peer, purpose, millis);
    }

    /** Waits for the call of a rank. It may have called and left just now. Null: it has not called. */
    @Nullable
    SocketChannel caller(int peer, String purpose, long nanos) throws InterruptedException {
        return caller(peer, purpose, nanos, LAST_CALL_NANOS);
    }

    private @Nullable SocketChannel caller(int peer, String purpose, long nanos, long afterFarewell)
            throws InterruptedException {
        long remaining = nanos;
        lock.lockInterruptibly();
        try {
            while (true) {
                SocketChannel channel = callers.remove(new TcpHandshake.Caller(peer, purpose));
                if (left[peer]) {
                    remaining = Math.min(remaining, afterFarewell);
                }
                if (channel != null || abortReason != null || remaining <= 0) {
                    return channel;
                }
                remaining = changed.awaitNanos(remaining);
            }
        } finally {
            lock.unlock();
        }
    }

    /** Wakes this selector on news. */
    void watch(Selector selector) {
        waiting.add(selector);
    }

    void unwatch(Selector selector) {
        waiting.remove(selector);
    }

    /** Keeps the first reason and wakes everybody who waits; true when it was the first. */
    boolean abort(String reason, List<Integer> late) {
        lock.lock();
        try {
            if (abortReason != null) {
                return false;
            }
            lateRanks = List.copyOf(late);
            abortReason = reason;
            changed.signalAll();
        } finally {
            lock.unlock();
        }
        waiting.forEach(Selector::wakeup);
        return true;
    }

    @Nullable
    String abortReason() {
        return abortReason;
    }

    List<Integer> lateRanks() {
        return lateRanks;
    }

    void peerLeft(int peer) {
        lock.lock();
        try {
            left[peer] = true;
            changed.signalAll();
        } finally {
            lock.unlock();
        }
    }

    boolean hasLeft(int peer) {
        lock.lock();
        try {
            return left[peer];
        } finally {
            lock.unlock();
        }
    }

    /** Waits until all others have left; returns those that have not. */
    List<Integer> awaitDeparture(Duration patience) throws InterruptedException {
        long nanos = patience.toNanos();
        lock.lockInterruptibly();
        try {
            while (true) {
                List<Integer> there = IntStream.range(0, size())
                        .filter(peer -> peer != rank && !left[peer])
                        .boxed()
                        .toList();
                if (there.isEmpty() || nanos <= 0) {
                    return there;
                }
                nanos = changed.awaitNanos(nanos);
            }
        } finally {
            lock.unlock();
        }
    }

    /** A connection ended; gives the news that explains it some time to arrive. */
    void awaitNewsOf(int peer, Duration patience) {
        long nanos = patience.toNanos();
        lock.lock();
        try {
            while (abortReason == null && !left[peer] && nanos > 0) {
                nanos = changed.awaitNanos(nanos);
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        } finally {
            lock.unlock();
        }
    }

    /** Lets nobody in any more and closes connections that nobody took. */
    void close() {
        closed = true;
        handshakes.shutdownNow();
        try {
            endpoint.close();
        } catch (IOException e) {
            LOG.debug("closing the endpoint of rank {}", rank, e);
        }
        lock.lock();
        try {
            callers.values().forEach(TcpHub::closeQuietly);
            callers.clear();
        } finally {
            lock.unlock();
        }
    }

    static void closeQuietly(SocketChannel channel) {
        try {
            channel.close();
        } catch (IOException e) {
            LOG.debug("closing {}", channel, e);
        }
    }
}
