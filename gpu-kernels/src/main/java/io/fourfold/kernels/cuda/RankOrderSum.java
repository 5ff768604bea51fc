package io.fourfold.kernels.cuda;

import io.fourfold.kernels.comm.Pending;
import io.fourfold.kernels.comm.ReduceOp;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Sums in rank order: every rank sends each owner its part, and the owner adds the parts in FP32 and rounds once, as the
 * CPU's collectives do, with the same bits. NCCL's own BF16 sums round at every rank they pass, and its FP32 sums have an
 * order of its choice.
 */
final class RankOrderSum {
    /** Ranks whose addends may lie anywhere; a parameter of the kernel for each. */
    private static final int MOST_PLACES = 8;

    private static final int ALIGNMENT = 64;
    /** Bytes of a part from which the sum of two ranks is as fast by the copy engines, with nothing beside it. */
    private static final long LEAST_ALONE = 32 << 20;

    private final GroupQueue queue;
    private final int rank;
    private final int size;

    RankOrderSum(GroupQueue queue) {
        this.queue = queue;
        this.rank = queue.rank();
        this.size = queue.size();
    }

    /**
     * Whether a sum is taken so, as BF16 always is over more than two ranks. NCCL's sum of two has the same bits, one addition
     * and one rounding, so there it is a question of speed.
     *
     * @param parts elements of each rank's part
     */
    boolean takes(CudaTensor values, ReduceOp op, long... parts) {
        if (op != ReduceOp.SUM || size == 1 || values.dtype() != DType.BF16) {
            return false;
        }
        long bytes = Arrays.stream(parts).max().orElse(0) * values.dtype().bytes();
        return size > 2 || (queue.side() != NcclSide.MAIN || bytes >= LEAST_ALONE) && queue.copies(bytes);
    }

    /**
     * Sums every rank's parts into {@code to}, each in its owner.
     *
     * @param counts elements of the parts, which follow each other
     */
    void scatter(CudaTensor from, CudaTensor to, long[] counts) {
        long staged = staged(counts[rank]);
        if (queue.side() != NcclSide.MAIN) {
            scatter(from, to, counts, queue.lane().scratch(from.dtype(), staged));
            return;
        }
        try (CudaTensorScope work = queue.cuda().workspace()) {
            scatter(from, to, counts, work.allocate(from.dtype(), Shape.flat(staged)));
        }
    }

    private void scatter(CudaTensor from, CudaTensor to, long[] counts, CudaTensor staging) {
        exchange(from, counts, staging);
        add(queue.part(from, counts), staging, to);
    }

    /** Starts it on another side; the addends that arrive are added when it is awaited. */
    Pending start(NcclSide side, CudaTensor from, CudaTensor to, long[] counts) {
        CudaTensorScope work = queue.cuda().workspace();
        CudaTensor staging = work.allocate(from.dtype(), Shape.flat(staged(to.elements())));
        Pending others = queue.startLending(side, () -> exchange(from, counts, staging));
        return Pending.once(() -> {
            others.await();
            add(queue.part(from, counts), staging, to);
            work.close();
        });
    }

    /** Whether {@link #startConsuming} can. */
    boolean consumes(NcclSide side, CudaTensor from, CudaTensor to, ReduceOp op) {
        return op == ReduceOp.SUM
                && from.dtype() != DType.INT32
                && size > 1
                && size <= MOST_PLACES
                && part(from, rank, to).address() != to.address()
                && queue.copiesBeside(side, to.bytes());
    }

    /**
     * Starts a sum of equal parts that needs no memory of its own: in as many rounds as there are other ranks, each with one
     * message to send and one to receive. The first addend lands where the sum goes, the others where the message of the round
     * before came from. They are added when they are awaited: a kernel on the exchange's stream would wait for multiprocessors
     * that products beside it keep.
     */
    Pending startConsuming(NcclSide side, CudaTensor from, CudaTensor to) {
        CudaTensor[] addends = new CudaTensor[size];
        addends[rank] = part(from, rank, to);
        Runnable rounds = () -> {
            CudaTensor free = to;
            for (int round = 1; round < size; round++) {
                int target = (rank + round) % size;
                int source = Math.floorMod(rank - round, size);
                CudaTensor sent = part(from, target, to);
                queue.messages(
                        "reduceScatter",
                        List.of(new PeerMessage(target, sent, 0, sent.elements())),
                        List.of(new PeerMessage(source, free, 0, free.elements())),
                        PeerLink.NOTHING);
                addends[source] = free;
                free = sent;
            }
        };
        Pending others = queue.startOn(side, rounds, () -> {});
        return Pending.once(() -> {
            others.await();
            add(List.of(addends), to);
        });
    }

    /** Equal parts: that of a rank. */
    private static CudaTensor part(CudaTensor all, int of, CudaTensor like) {
        return all.view(of * like.elements(), like.shape());
    }

    /** Elements of memory for what the other ranks send of a part of so many elements. */
    private long staged(long elements) {
        return stride(elements) * (size - 1);
    }

    /** Elements between two ranks' parts in the staging memory: whole vectors, so that each part can be read by them. */
    private static long stride(long elements) {
        return (elements + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }

    private void exchange(CudaTensor from, long[] counts, CudaTensor staging) {
        long elements = counts[rank];
        List<PeerMessage> receives = new ArrayList<>();
        for (int peer = 0; peer < size; peer++) {
            if (peer != rank) {
                receives.add(new PeerMessage(peer, staging, receives.size() * stride(elements), elements));
            }
        }
        queue.messages("exchange for a sum", PeerMessage.ofOthers(rank, from, counts), receives, PeerLink.NOTHING);
    }

    /** Queues the sum of addends in the order of the ranks; {@code out} may be one of them. */
    private void add(List<CudaTensor> addends, CudaTensor out) {
        List<Object> arguments = new ArrayList<>(addends);
        while (arguments.size() < MOST_PLACES) {
            arguments.add(out); // not read
        }
        arguments.addAll(List.of(out, out.elements(), size));
        launch("rank_sum_of", out, arguments.toArray());
    }

    /** Queues the sum of this rank's part and what was received; {@code out} may be {@code own}. */
    private void add(CudaTensor own, CudaTensor staging, CudaTensor out) {
        launch("rank_sum", own, own, staging, out, own.elements(), stride(own.elements()), size, rank);
    }

    private void launch(String kernel, CudaTensor like, Object... arguments) {
        queue.cuda()
                .function("rank_sum", CudaArguments.kernel(kernel, like))
                .launchLineOn(queue.stream(), CudaArguments.blocks(like.elements(), 256 * 8), 256, arguments);
    }
}
