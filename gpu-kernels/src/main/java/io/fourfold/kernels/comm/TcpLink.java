package io.fourfold.kernels.comm;

import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.util.ArrayDeque;
import org.jspecify.annotations.Nullable;

/**
 * The connection of one member to one other within a group. Never blocks: {@link #pump} moves what can be moved. Holds one
 * buffer for each direction, whatever the size of the tensors.
 */
final class TcpLink {
    private static final int BUFFER_BYTES = 256 << 10;

    private final int member;
    private final int worldRank;
    private final SocketChannel channel;
    private final SelectionKey key;
    private final WireFormat format;
    private final ByteBuffer out = buffer(BUFFER_BYTES).flip();
    private final ByteBuffer in = buffer(BUFFER_BYTES).flip();
    private final ArrayDeque<Outgoing> outgoing = new ArrayDeque<>();
    private final ArrayDeque<Incoming> incoming = new ArrayDeque<>();
    private final ArrayDeque<Message> messages = new ArrayDeque<>();
    private @Nullable CollectiveCall nextCall;
    private @Nullable IOException failure;

    /**
     * @param channel connected and authenticated
     */
    TcpLink(int member, int worldRank, SocketChannel channel, Selector selector, WireFormat format) throws IOException {
        this.member = member;
        this.worldRank = worldRank;
        this.channel = channel;
        this.format = format;
        channel.configureBlocking(false);
        key = channel.register(selector, 0);
    }

    static ByteBuffer buffer(int bytes) {
        return ByteBuffer.allocateDirect(bytes).order(ByteOrder.LITTLE_ENDIAN);
    }

    int member() {
        return member;
    }

    int worldRank() {
        return worldRank;
    }

    void write(Outgoing part) {
        outgoing.add(part);
    }

    void read(Incoming part) {
        incoming.add(part);
    }

    /** True when the kernel has everything that was to be written. */
    boolean isFlushed() {
        return outgoing.isEmpty() && !out.hasRemaining();
    }

    /** True when everything that was to be read is there. */
    boolean isRead() {
        return incoming.isEmpty();
    }

    /** The collective that the peer has begun and this member has not. */
    @Nullable
    CollectiveCall nextCall() {
        return nextCall;
    }

    void beginNextCall() {
        nextCall = null;
    }

    /** Messages that have arrived and were not received yet. */
    ArrayDeque<Message> messages() {
        return messages;
    }

    /** Why nothing more will come or go, if that is so. What had arrived before has been delivered. */
    @Nullable
    IOException failure() {
        return failure;
    }

    /** Reads and writes what is possible without waiting; true when anything moved. */
    boolean pump() {
        boolean moved = consume();
        if (failure != null) {
            return moved;
        }
        try {
            moved |= writeOut();
            return moved | readIn();
        } catch (IOException e) {
            failure = e;
            return moved;
        }
    }

    private boolean writeOut() throws IOException {
        boolean moved = false;
        while (true) {
            if (!out.hasRemaining()) {
                fill();
            }
            if (!out.hasRemaining()) {
                return moved;
            }
            if (channel.write(out) == 0) {
                return moved;
            }
            moved = true;
        }
    }

    private void fill() {
        out.clear();
        Outgoing part = outgoing.peek();
        while (part != null && part.put(out)) {
            outgoing.remove();
            part = outgoing.peek();
        }
        out.flip();
    }

    private boolean readIn() throws IOException {
        boolean moved = false;
        while (hasRoom()) {
            in.compact();
            int n = channel.read(in);
            in.flip();
            if (n < 0) {
                failure = new EOFException("the connection was closed by the peer");
                return moved;
            }
            if (n == 0) {
                return moved;
            }
            moved = true;
            consume();
        }
        return moved;
    }

    /** False when the peer must wait for this member: its next operation is not begun here, or a part has no place yet. */
    private boolean hasRoom() {
        Incoming part = incoming.peek();
        return part != null ? part.hasRoom() : nextCall == null;
    }

    private boolean consume() {
        int before = in.remaining();
        while (true) {
            Incoming part = incoming.peek();
            if (part != null) {
                if (!part.take(in)) {
                    break;
                }
                incoming.remove();
            } else if (nextCall != null || !takeHeader()) {
                break;
            }
        }
        return in.remaining() != before;
    }

    private boolean takeHeader() {
        WireFormat.Header header = WireFormat.takeHeader(in);
        if (header == null) {
            return false;
        }
        if (!header.isMessage()) {
            nextCall = header.call();
            return true;
        }
        var tensor = header.call().payload();
        Message message = Message.empty(tensor.dtype(), tensor.size());
        Incoming part = Incoming.part(format, message.values(), 0, tensor.size());
        incoming.add(buffer -> {
            boolean whole = part.take(buffer);
            if (whole) {
                messages.add(message);
            }
            return whole;
        });
        return true;
    }

    /** Says what to wait for. */
    void updateInterest() {
        if (failure != null) {
            key.interestOps(0);
            return;
        }
        key.interestOps((hasRoom() ? SelectionKey.OP_READ : 0) | (out.hasRemaining() ? SelectionKey.OP_WRITE : 0));
    }

    /** Waits for nothing. */
    void rest() {
        if (key.isValid()) {
            key.interestOps(0);
        }
    }

    void close() throws IOException {
        channel.close();
    }
}
