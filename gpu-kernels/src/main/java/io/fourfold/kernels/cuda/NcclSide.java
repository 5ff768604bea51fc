package io.fourfold.kernels.cuda;

/**
 * Where operations run. Those of one side run one after the other, in the order in which they are queued; sides run beside
 * each other, on streams and NCCL communicators of their own.
 */
enum NcclSide {
    /** The device's own stream. */
    MAIN,
    /** Collectives beside it. */
    BESIDE,
    /** Rows of a layer beside its products: they must not wait behind what is under way for longer. */
    ROWS,
    /** Messages from a rank of a group to a higher one. A message waits for its receiver, so those of the other way must not wait behind it. */
    UP,
    /** To a lower one. */
    DOWN,
    /** From the first to the last of more than two, which would close a circle with those from neighbour to neighbour. */
    AROUND_UP,
    /** From the last to the first. */
    AROUND_DOWN;

    /** Whether its operations run beside work that fills the device. */
    boolean sharesDevice() {
        return this == BESIDE || this == ROWS;
    }

    /** The side of messages between two members of a group of {@code size}. */
    static NcclSide ofMessage(int from, int to, int size) {
        boolean around = size > 2 && Math.abs(from - to) == size - 1;
        if (from < to) {
            return around ? AROUND_UP : UP;
        }
        return around ? AROUND_DOWN : DOWN;
    }

    /** Those of messages in a group of {@code size}. */
    static NcclSide[] ofMessages(int size) {
        return size > 2 ? new NcclSide[] {UP, DOWN, AROUND_UP, AROUND_DOWN} : new NcclSide[] {UP, DOWN};
    }
}
