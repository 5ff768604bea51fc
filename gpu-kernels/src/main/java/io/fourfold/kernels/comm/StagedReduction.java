package io.fourfold.kernels.comm;

import io.fourfold.kernels.cpu.CpuTensor;
import java.nio.ByteBuffer;
import java.util.Arrays;

/**
 * Reduces one part of all members as it arrives, block by block: a block is reduced when every member's is there, in
 * ascending rank order, so the bits are those of a reduction in one piece. Memory is one block for each peer.
 */
final class StagedReduction {
    private static final int BLOCK = 32 << 10;

    private final WireFormat format;
    private final ReduceOp op;
    private final int rank;
    private final CpuTensor out;
    private final int outFrom;
    private final int length;
    private final CpuTensor[] sources;
    private final int[] froms;
    private final int[] filled;
    private int done;

    /**
     * @param mine this member's whole tensor; its part begins at {@code from}
     * @param out where the result goes, from {@code outFrom} on
     */
    StagedReduction(
            WireFormat format,
            ReduceOp op,
            int rank,
            int members,
            CpuTensor mine,
            int from,
            CpuTensor out,
            int outFrom,
            int length) {
        this.format = format;
        this.op = op;
        this.rank = rank;
        this.out = out;
        this.outFrom = outFrom;
        this.length = length;
        this.froms = new int[members];
        this.filled = new int[members];
        this.sources = new CpuTensor[members];
        for (int member = 0; member < members; member++) {
            sources[member] = member == rank
                    ? mine
                    : Message.empty(mine.dtype(), Math.min(BLOCK, length)).values();
        }
        froms[rank] = from;
    }

    /** Elements reduced so far. */
    int done() {
        return done;
    }

    boolean isDone() {
        return done == length;
    }

    /** What is to be read from a member. */
    Incoming from(int member) {
        return new Incoming() {
            private int taken;

            @Override
            public boolean take(ByteBuffer in) {
                int n = format.take(in, sources[member], filled[member], block() - filled[member]);
                filled[member] += n;
                taken += n;
                return taken == length;
            }

            @Override
            public boolean hasRoom() {
                return filled[member] < block();
            }
        };
    }

    private int block() {
        return Math.min(BLOCK, length - done);
    }

    /** Reduces the current block if it is complete; true when it was. */
    boolean advance() {
        int block = block();
        if (block == 0) {
            return false;
        }
        for (int member = 0; member < filled.length; member++) {
            if (member != rank && filled[member] < block) {
                return false;
            }
        }
        TensorReduction.reduce(op, sources, froms, out, outFrom + done, block);
        done += block;
        froms[rank] += block;
        Arrays.fill(filled, 0);
        return true;
    }

    /** Reduces everything: for a group of one member, who waits for nobody. */
    void advanceAll() {
        while (!isDone()) {
            advance();
        }
    }
}
