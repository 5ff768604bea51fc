package io.fourfold.kernels.comm;

import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.nio.channels.SocketChannel;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.TimeUnit;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * One quiet connection to every other rank, over which aborts, farewells and questions what a rank does travel at any time. Where it ends without a
 * farewell, the other process is dead: that breaks the world.
 */
final class TcpControl {
    static final String PURPOSE = "control";
    private static final byte ABORT = 1;
    private static final byte LEAVE = 2;
    private static final byte ASK = 3;
    private static final byte ANSWER = 4;
    /** What {@link DataOutputStream#writeUTF} takes, at three bytes a character. */
    private static final int REASON_LIMIT = 20_000;

    private static final long ANSWER_MILLIS = 2_000;
    private static final long POLL_MILLIS = 50;
    private static final long FAREWELL_MILLIS = 2_000;
    private static final Logger LOG = LoggerFactory.getLogger(TcpControl.class);

    private final TcpHub hub;
    private final Map<Integer, SocketChannel> peers;
    private final ExecutorService writer;
    private final Map<Integer, Activity> answers = new TreeMap<>();

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
                switch (in.readByte()) {
                    case ABORT -> hub.abort(in.readUTF(), readRanks(in));
                    case LEAVE -> hub.peerLeft(peer);
                    case ASK ->
                        writer.execute(
                                () -> write(peer, out -> answer(out, hub.trace().activity())));
                    case ANSWER -> answered(peer, new Activity(in.readBoolean(), in.readLong(), in.readUTF()));
                    default -> throw new IOException("a message of another program version");
                }
            }
        } catch (IOException | RejectedExecutionException e) {
            if (!hub.isClosed() && !hub.hasLeft(peer)) {
                breakBy(peer, e);
            }
            hub.peerLeft(peer);
        }
    }

    private void breakBy(int peer, Exception e) {
        hub.abort(
                hub.describe(peer) + " is gone: its connection ended without a farewell (" + e
                        + "). Its process crashed or was killed, or its machine or network failed; look at the end of"
                        + " its executor's log",
                List.of());
    }

    private static List<Integer> readRanks(DataInputStream in) throws IOException {
        int count = in.readInt();
        List<Integer> ranks = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            ranks.add(in.readInt());
        }
        return ranks;
    }

    private static void answer(DataOutputStream out, Activity activity) throws IOException {
        out.writeByte(ANSWER);
        out.writeBoolean(activity.inOperation());
        out.writeLong(activity.millis());
        out.writeUTF(shortened(activity.operation()));
    }

    private void answered(int peer, Activity activity) {
        synchronized (answers) {
            answers.put(peer, activity);
            answers.notifyAll();
        }
    }

    /** Asks all others what they do. Their control threads answer, also when the rank itself hangs. */
    Map<Integer, Activity> activities() {
        synchronized (answers) {
            answers.clear();
            if (writer.isShutdown()) {
                return Map.of();
            }
            send(out -> out.writeByte(ASK));
            long end = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(ANSWER_MILLIS);
            try {
                while (answers.size() < peers.size() && System.nanoTime() < end) {
                    answers.wait(POLL_MILLIS);
                }
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
            return new TreeMap<>(answers);
        }
    }

    void abort(String reason, List<Integer> late) {
        send(out -> {
            out.writeByte(ABORT);
            out.writeUTF(shortened(reason));
            out.writeInt(late.size());
            for (int rank : late) {
                out.writeInt(rank);
            }
        });
    }

    private static String shortened(String text) {
        return text.length() > REASON_LIMIT ? text.substring(0, REASON_LIMIT) : text;
    }

    private interface Content {
        void write(DataOutputStream out) throws IOException;
    }

    private void send(Content content) {
        writer.execute(() -> peers.keySet().forEach(peer -> write(peer, content)));
    }

    private void write(int peer, Content content) {
        SocketChannel channel = Objects.requireNonNull(peers.get(peer), "a peer has a connection");
        try {
            content.write(new DataOutputStream(channel.socket().getOutputStream()));
        } catch (IOException e) {
            LOG.debug("{} does not listen any more", hub.describe(peer), e);
        }
    }

    /** Lets the others tell leaving from dying. */
    void sayFarewell() {
        send(out -> out.writeByte(LEAVE));
    }

    /** Says farewell and waits until the others can know. */
    void leave() {
        sayFarewell();
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
