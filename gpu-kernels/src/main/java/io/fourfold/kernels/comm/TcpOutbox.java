package io.fourfold.kernels.comm;

import io.fourfold.kernels.cpu.CpuTensor;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * Messages on their way to one peer. A thread writes them to a connection of their own, so the sender never waits for the
 * receiver, whatever their sizes; TCP slows the thread down, not the rank. Memory is what the receiver has not taken yet.
 */
final class TcpOutbox {
    private static final int BUFFER_BYTES = 256 << 10;
    private static final long POLL_MILLIS = 20;

    private final TcpGroup group;
    private final int worldRank;
    private final Consumer<IOException> lost;
    private final WireFormat format = new WireFormat();
    private final ByteBuffer buffer = TcpLink.buffer(BUFFER_BYTES);
    private final ArrayDeque<Message> queue = new ArrayDeque<>();
    private final Thread writer;
    private boolean broken;

    /**
     * @param worldRank the receiver
     * @param lost called once when the connection fails
     */
    TcpOutbox(TcpGroup group, int worldRank, Consumer<IOException> lost) {
        this.group = group;
        this.worldRank = worldRank;
        this.lost = lost;
        this.writer = group.hub().daemon(this::write, "to-" + worldRank);
        writer.start();
    }

    /** Takes the message; does not wait. */
    synchronized void add(Message message) {
        queue.add(message);
        notifyAll();
    }

    private void write() {
        // The sender calls, whichever rank is lower: the receiver may be far from expecting a message.
        try (SocketChannel channel = group.hub().call(worldRank, group.messagePurpose())) {
            while (true) {
                write(channel, first().values());
                written();
            }
        } catch (InterruptedException e) {
            // closed
        } catch (IOException e) {
            boolean expected = Thread.interrupted() || group.hub().isClosed();
            fail();
            if (!expected) {
                lost.accept(e);
            }
        }
    }

    private void write(SocketChannel channel, CpuTensor values) throws IOException {
        buffer.clear().put(WireFormat.messageHeader(values));
        int done = 0;
        do {
            done += format.put(buffer, values, done, values.size() - done);
            buffer.flip();
            while (buffer.hasRemaining()) {
                channel.write(buffer);
            }
            buffer.clear();
        } while (done < values.size());
    }

    private synchronized Message first() throws InterruptedException {
        while (queue.isEmpty()) {
            wait();
        }
        return queue.getFirst();
    }

    private synchronized void written() {
        queue.removeFirst();
        notifyAll();
    }

    private synchronized void fail() {
        broken = true;
        notifyAll();
    }

    /** Waits until the network has all messages, the receiver is gone, or the world broke. */
    synchronized void drain(Duration patience) {
        long end = System.nanoTime() + patience.toNanos();
        try {
            while (!queue.isEmpty() && !broken && System.nanoTime() < end && isAwaited()) {
                wait(POLL_MILLIS);
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private boolean isAwaited() {
        @Nullable String reason = group.hub().abortReason();
        return reason == null && !group.hub().hasLeft(worldRank);
    }

    void close() {
        writer.interrupt();
    }
}
