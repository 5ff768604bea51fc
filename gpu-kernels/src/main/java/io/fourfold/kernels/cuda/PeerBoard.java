package io.fourfold.kernels.cuda;

import java.io.IOException;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicIntegerArray;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.Pointer;
import org.jspecify.annotations.Nullable;

/**
 * A few pages of memory that all ranks of a group on one host share, with their GPUs. For every pair of a sender and a
 * receiver it holds a letter box, where the receiver's host tells where the next message belongs, and two flags, by which the
 * GPUs' streams wait for each other without their hosts.
 *
 * <p>It is a file in memory ({@code /dev/shm}), so that ranks may be processes as well as threads. Each rank maps it for itself.
 * Messages of a pair are numbered from 1; flags and counts hold the number of the last message they tell of.
 */
final class PeerBoard implements AutoCloseable {
    /** Where the host keeps files in memory. */
    static final Path FOLDER = Path.of("/dev/shm");
    /** Bytes of a {@link PeerMemory.Place}'s handle. */
    static final int HANDLE_BYTES = 64;
    /** Letters of a pair that can be waiting. */
    static final int LETTERS = 4;

    private static final int LETTER_BYTES = 128;
    private static final int LETTER_BASE = 8;
    private static final int LETTER_OFFSET = 16;
    private static final int LETTER_HANDLE = 24;
    /** Each flag and count has a line of the processor's cache to itself. */
    private static final int LINE = 64;

    private static final int READY = LETTERS * LETTER_BYTES;
    private static final int ARRIVED = READY + LINE;
    private static final int TAKEN = ARRIVED + LINE;
    private static final int PAIR_BYTES = TAKEN + LINE;
    private static final int HEADER_BYTES = 64;

    /** Far ahead of every message, yet behind none when numbers are compared as the GPU does: by the sign of their difference. */
    private static final int FAR_AHEAD = 1 << 30;

    private static final VarHandle LONGS = MethodHandles.byteBufferViewVarHandle(long[].class, ByteOrder.nativeOrder());
    private static final VarHandle INTS = MethodHandles.byteBufferViewVarHandle(int[].class, ByteOrder.nativeOrder());

    private final int size;
    private final MappedByteBuffer memory;
    /** Boards that broke while the GPU may have been at them: their pages stay, lest new ones get their addresses. */
    private static final List<PeerBoard> ABANDONED = new CopyOnWriteArrayList<>();

    private @Nullable Pointer host;
    private long device;

    private PeerBoard(int size, MappedByteBuffer memory) {
        this.size = size;
        this.memory = memory;
    }

    /** Makes the file, filled with zeros but for the nonce, for processes of the same user. */
    static void create(Path file, int size, long nonce) throws IOException {
        Set<StandardOpenOption> options =
                Set.of(StandardOpenOption.CREATE_NEW, StandardOpenOption.READ, StandardOpenOption.WRITE);
        try (FileChannel channel = FileChannel.open(
                file, options, PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rw-------")))) {
            MappedByteBuffer memory = channel.map(FileChannel.MapMode.READ_WRITE, 0, bytes(size));
            LONGS.setRelease(memory, 0, nonce);
        }
    }

    /**
     * Maps the file for this rank.
     *
     * @throws IOException when it is not there, or another group's
     */
    static PeerBoard open(Path file, int size, long nonce) throws IOException {
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
            if (channel.size() < bytes(size)) {
                throw new IOException(file + " is too short");
            }
            MappedByteBuffer memory = channel.map(FileChannel.MapMode.READ_WRITE, 0, bytes(size));
            memory.order(ByteOrder.nativeOrder());
            if ((long) LONGS.getAcquire(memory, 0) != nonce) {
                throw new IOException(file + " is another group's");
            }
            return new PeerBoard(size, memory);
        }
    }

    /** Lets the current GPU at it. */
    PeerBoard register() {
        Pointer pages = new BytePointer(memory);
        CudaDevice.check(
                cudart.cuMemHostRegister(pages, bytes(size), cudart.CU_MEMHOSTREGISTER_DEVICEMAP), "cuMemHostRegister");
        host = pages;
        long[] address = new long[1];
        CudaDevice.check(cudart.cuMemHostGetDevicePointer(address, pages, 0), "cuMemHostGetDevicePointer");
        device = address[0];
        return this;
    }

    private static long bytes(int size) {
        return HEADER_BYTES + (long) size * size * PAIR_BYTES;
    }

    private int pair(int sender, int receiver) {
        return HEADER_BYTES + (receiver * size + sender) * PAIR_BYTES;
    }

    private static int letter(int pair, int number) {
        return pair + Math.floorMod(number, LETTERS) * LETTER_BYTES;
    }

    /** Tells the sender where its message belongs. Until the letter {@link #LETTERS} before was taken, there is no room for it. */
    void post(int sender, int receiver, int number, PeerMemory.Place place) {
        int letter = letter(pair(sender, receiver), number);
        memory.putLong(letter + LETTER_BASE, place.base());
        memory.putLong(letter + LETTER_OFFSET, place.offset());
        memory.put(letter + LETTER_HANDLE, place.handle());
        INTS.setRelease(memory, letter, number);
    }

    /** Whether the receiver has told where the message belongs. */
    boolean posted(int sender, int receiver, int number) {
        return (int) INTS.getAcquire(memory, letter(pair(sender, receiver), number)) == number;
    }

    /** What the receiver told; its letter may be overwritten afterwards. */
    PeerMemory.Place take(int sender, int receiver, int number) {
        int pair = pair(sender, receiver);
        int letter = letter(pair, number);
        byte[] handle = new byte[HANDLE_BYTES];
        memory.get(letter + LETTER_HANDLE, handle);
        PeerMemory.Place place = new PeerMemory.Place(
                memory.getLong(letter + LETTER_BASE), memory.getLong(letter + LETTER_OFFSET), handle);
        INTS.setRelease(memory, pair + TAKEN, number);
        return place;
    }

    /** The number of the last letter that the sender took. */
    int taken(int sender, int receiver) {
        return (int) INTS.getAcquire(memory, pair(sender, receiver) + TAKEN);
    }

    /** The address, for the GPU, of the flag by which the receiver's stream tells that the message may come. */
    long ready(int sender, int receiver) {
        return device + pair(sender, receiver) + READY;
    }

    /** The address, for the GPU, of the flag by which the sender's stream tells that the message is there. */
    long arrived(int sender, int receiver) {
        return device + pair(sender, receiver) + ARRIVED;
    }

    /** Raises the flags that a rank's stream waits for, or will, so that it goes on without its peers. */
    void release(int rank, AtomicIntegerArray sent, AtomicIntegerArray received) {
        for (int peer = 0; peer < size; peer++) {
            INTS.setRelease(memory, pair(rank, peer) + READY, sent.get(peer) + FAR_AHEAD);
            INTS.setRelease(memory, pair(peer, rank) + ARRIVED, received.get(peer) + FAR_AHEAD);
        }
    }

    /** Keeps the memory as it is: the GPU may not be done with it, nor ever be. */
    void abandon() {
        ABANDONED.add(this);
    }

    /** The GPU is done with it. */
    @Override
    public void close() {
        if (host != null) {
            CudaDevice.check(cudart.cuMemHostUnregister(host), "cuMemHostUnregister");
            host = null;
        }
    }
}
