package io.fourfold.kernels.cuda;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BooleanSupplier;
import org.bytedeco.cuda.global.cudart;

/**
 * Messages between the GPUs of one host by their copy engines. Nothing runs on the multiprocessors, so products beside an
 * exchange keep all of them, and a copy writes to where the message is wanted.
 *
 * <p>A message takes four steps, each in the order of the stream on which the exchange is queued:
 *
 * <ol>
 *   <li>the receiver's host posts the place, and its stream raises the flag "ready": memory at that place is free now;
 *   <li>the sender's host takes the place; its stream waits for that flag and copies,
 *   <li>then raises the flag "arrived",
 *   <li>for which the receiver's stream waits.
 * </ol>
 *
 * Hosts wait for letters only: a sender until its receiver has come to the same exchange, a receiver never, unless it is
 * {@link PeerBoard#LETTERS} exchanges ahead. All ranks queue the exchanges of a link in the same order.
 */
final class PeerLink implements AutoCloseable {
    /** Of a message that goes this way beside other work: the calls for a shorter one cost more than NCCL's one. */
    static final long LEAST_BYTES = 4 << 20;
    /** Of one that nothing runs beside: then waiting for flags counts, too. */
    static final long LEAST_BYTES_ALONE = 12 << 20;

    private static final int SPINS = 2_000;
    private static final long PARK_NANOS = 20_000;

    /** No work meanwhile. */
    static final Runnable NOTHING = () -> {};

    private final PeerBoard board;
    private final StreamFlags flags = new StreamFlags();
    private final PeerMemory memory;
    private final List<Integer> members;
    private final int rank;
    /** Messages so far, by peer. */
    private final AtomicIntegerArray sent;

    private final AtomicIntegerArray received;

    /**
     * @param members world ranks
     * @param rank this one's index in them
     */
    PeerLink(PeerBoard board, PeerMemory memory, List<Integer> members, int rank) {
        this.board = board;
        this.memory = memory;
        this.members = members;
        this.rank = rank;
        sent = new AtomicIntegerArray(members.size());
        received = new AtomicIntegerArray(members.size());
    }

    /**
     * Queues an exchange: at most one message each way between two ranks.
     *
     * @param meanwhile queues work of this rank's own between its copies and the wait for its peers'
     * @param check throws when the world is broken
     */
    void queue(
            CudaStream stream,
            List<PeerMessage> sends,
            List<PeerMessage> receives,
            Runnable meanwhile,
            Runnable check) {
        for (PeerMessage message : receives) {
            int peer = message.peer();
            int number = received.incrementAndGet(peer);
            await(() -> number - board.taken(peer, rank) <= PeerBoard.LETTERS, check);
            board.post(peer, rank, number, memory.place(message.address()));
            flags.write(board.ready(peer, rank), number);
        }
        List<PeerMessage> turns = inTurn(sends);
        long[] places = new long[turns.size()];
        for (int i = 0; i < places.length; i++) {
            int peer = turns.get(i).peer();
            int number = sent.incrementAndGet(peer);
            await(() -> board.posted(rank, peer, number), check);
            places[i] = memory.open(members.get(peer), board.take(rank, peer, number));
            flags.await(board.ready(rank, peer), number);
        }
        flags.queue(stream);
        for (int i = 0; i < places.length; i++) {
            PeerMessage message = turns.get(i);
            CudaDevice.check(
                    cudart.cuMemcpyDtoDAsync(places[i], message.address(), message.bytes(), stream.javacpp()),
                    "copying to another GPU");
            flags.write(board.arrived(rank, message.peer()), sent.get(message.peer()));
            if (i < places.length - 1) {
                flags.queue(stream);
            }
        }
        if (!meanwhile.equals(NOTHING)) {
            flags.queue(stream);
            meanwhile.run();
        }
        for (PeerMessage message : receives) {
            flags.await(board.arrived(message.peer(), rank), received.get(message.peer()));
        }
        flags.queue(stream);
    }

    /** Beginning with the next rank, so that not all ranks send to the same one at first. */
    private List<PeerMessage> inTurn(List<PeerMessage> sends) {
        List<PeerMessage> turns = new ArrayList<>(sends);
        turns.sort(Comparator.comparingInt(message -> Math.floorMod(message.peer() - rank, members.size())));
        return turns;
    }

    private static void await(BooleanSupplier done, Runnable check) {
        for (int i = 0; !done.getAsBoolean(); i++) {
            if (i < SPINS) {
                Thread.onSpinWait();
            } else {
                check.run();
                LockSupport.parkNanos(PARK_NANOS);
            }
        }
    }

    /** Throws when streams of this device cannot write flags. */
    void probe(CudaStream stream) {
        flags.write(board.ready(rank, rank), 0);
        flags.queue(stream);
    }

    /** Lets this rank's streams go on without its peers, which are gone. Any thread. */
    void release() {
        board.release(rank, sent, received);
    }

    /** Something may be under way for ever. */
    void abandon() {
        board.abandon();
    }

    /** Nothing is under way. */
    @Override
    public void close() {
        board.close();
        flags.close();
    }
}
