package io.fourfold.kernels;

/**
 * Work that is queued again and again with the same shapes, so that a backend may record what one run of it queues and
 * queue that as a whole later on, see {@link Backend#repeat}.
 *
 * <p>What the work queues must be a function of {@link #key}, of where its memory lies, and of the numbers: it reads nothing
 * on the host that it computed on the device, uploads nothing, talks to no other rank, and releases what it allocates. The
 * numbers only go into operations as they are: nothing is computed from them on the host and nothing depends on them, a
 * backend checks that.
 */
public interface RepeatedWork {
    /**
     * Equal keys: the same operations on the same tensors. Names all tensors from outside that may lie elsewhere or have
     * another meaning next time.
     */
    Object key();

    /** What differs from time to time: 32-bit integers, or the bits of 32-bit floats. */
    int[] numbers();

    /** Other numbers that {@link #queue} may be given, each different from that of this time; as many. */
    int[] otherNumbers();

    /**
     * Queues the work. A backend that records may call this more than once, and only the last call counts: what it changes on
     * the host must be the same however often it is called.
     */
    void queue(int[] numbers);
}
