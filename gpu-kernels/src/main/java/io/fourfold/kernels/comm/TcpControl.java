package io.fourfold.kernels.comm;

import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.nio.channels.SocketChannel;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * One quiet connection to every other rank, over which aborts and farewells travel at any time. Where it ends without a
 * farewell, the other process is dead: that breaks the world.
 */
final class TcpControl {
    static final String PURPOSE = "control";
    private static final byte ABORT = 1;
    private static final byte LEAVE = 2;
    /** What {@link DataOutputStream#writeUTF} takes, at three bytes a character. */
    private static final int REASON_LIMIT = 20_000;

    private static final long FAREWELL_MILLIS = 2_000;
    private static final Logger LOG = LoggerFactory.getLogger(TcpControl.class);

    private final TcpHub hub;
    private final Map<Integer, SocketChannel> peers;
    private final ExecutorService writer;

    /**
     * @param peers connections by world rank
     */
    TcpControl(TcpHub hub, Map<Integer, SocketChannel> peers) {
        this.hub = hub;
        this.peers = new TreeMap<>(peers);
        // A thread of its own: an interrupted rank that wrote by itself would close the connection.
        this.writer = Executors.newSingleThreadExecutor(task -> hub.daemon(task, "control"));
        List<Thread> readers = new ArrayList<>();
        this.peers.forEach((peer, channel) -> readers.add(hub.daemon(() -> read(peer, channel), "control-of-" + peer)));
        readers.forEach(Thread::start);
    }

    private void read(int peer, SocketChannel channel) {
        try {
            DataInputStream in = new DataInputStream(channel.socket().getInputStream());
            while (true) {
                if (in.readByte() == ABORT) {
                    hub.abort(in.readUTF());
                } else {
                    hub.peerLeft(peer);
                }
            }
        } catch (IOException e) {
            if (!hub.isClosed() && !hub.hasLeft(peer)) {
                hub.abort(hub.describe(peer) + " is gone: its connection ended without a farewell (" + e
                        + "). Its process crashed or was killed, or its machine or network failed; look at the end of"
                        + " its executor's log");
            }
        }
    }

    void abort(String reason) {
        String text = reason.length() > REASON_LIMIT ? reason.substring(0, REASON_LIMIT) : reason;
        send(out -> {
            out.writeByte(ABORT);
            out.writeUTF(text);
        });
    }

    private interface Content {
        void write(DataOutputStream out) throws IOException;
    }

    private void send(Content content) {
        writer.execute(() -> peers.forEach((peer, channel) -> {
            try {
                content.write(new DataOutputStream(channel.socket().getOutputStream()));
            } catch (IOException e) {
                LOG.debug("{} does not listen any more", hub.describe(peer), e);
            }
        }));
    }

    /** Says farewell, so that the others can tell leaving from dying. */
    void leave() {
        send(out -> out.writeByte(LEAVE));
        writer.shutdown();
        boolean interrupted = Thread.interrupted();
        try {
            if (!writer.awaitTermination(FAREWELL_MILLIS, TimeUnit.MILLISECONDS)) {
                LOG.warn("Rank {} leaves without all others knowing", hub.rank());
            }
        } catch (InterruptedException e) {
            interrupted = true;
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    void close() {
        peers.values().forEach(TcpHub::closeQuietly);
    }
}
