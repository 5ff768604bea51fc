package io.fourfold.moe;

import io.fourfold.kernels.op.MoeOps;
import io.fourfold.kernels.op.RowPart;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The way of tokens that travel once, in two parts: those that stay on this rank are with their experts at once, and while
 * these work on them the others travel. In sums the results of this rank's own experts are not rounded.
 */
final class SplitRoute {
    private final SlotPermutation toRanks;
    private final AllToAllStage exchange;
    private final SlotPermutation toExperts;
    private final RowPart own;
    private final List<RowPart> others = new ArrayList<>();
    private @Nullable Departure departure;

    /** Tokens x [T, C] of which those for other ranks are on their way. */
    record Departure(Tensor x, Arrival arrival) {}

    /**
     * @param offsets INT32 [local experts + 1]
     * @param departure of the tokens that {@link #start} is called for first, when they have left already
     * @param kept scope of the parts
     */
    SplitRoute(
            SlotPermutation toRanks,
            AllToAllStage exchange,
            SlotPermutation toExperts,
            Tensor offsets,
            @Nullable Departure departure,
            TensorScope kept) {
        this.departure = departure;
        this.toRanks = toRanks;
        this.exchange = exchange;
        this.toExperts = toExperts;
        int begin = exchange.ownReceived();
        int end = begin + exchange.own();
        own = part(offsets, begin, end, kept);
        if (begin > 0) {
            others.add(part(offsets, 0, begin, kept));
        }
        if (end < exchange.received()) {
            others.add(part(offsets, end, exchange.received(), kept));
        }
    }

    /** Sends x [T, C] off before its way to the experts is known beyond the rank. */
    static Departure depart(SlotPermutation toRanks, AllToAllStage exchange, Tensor x, TensorScope work) {
        int begin = exchange.ownSent();
        int end = begin + exchange.own();
        Tensor sent = work.allocate(x.dtype(), toRanks.rows(), x.dim(1));
        toRanks.rows(x, 0, begin, sent.rows(0, begin));
        toRanks.rows(x, end, toRanks.rows(), sent.rows(end, toRanks.rows()));
        return new Departure(x, exchange.startToExperts(sent, work));
    }

    /** Rows of the tokens that arrive as number {@code begin .. end}. */
    private RowPart part(Tensor offsets, int begin, int end, TensorScope kept) {
        int experts = Math.toIntExact(offsets.elements()) - 1;
        RowPart part = new RowPart(kept.allocate(DType.INT32, experts), kept.allocate(DType.INT32, experts));
        MoeOps ops = toExperts.ops();
        ops.partOfSlots(offsets, toExperts.slotOfRow(), begin * toExperts.k(), end * toExperts.k(), part);
        return part;
    }

    /** Rows of tokens of this rank. */
    RowPart own() {
        return own;
    }

    /** Rows of the other ranks' tokens. */
    List<RowPart> others() {
        return others;
    }

    /**
     * Starts the way of the rows of x [T, C] to the experts; those of {@link #own} are there at once.
     *
     * @param scope of the experts' rows
     */
    SplitArrival start(Tensor x, TensorScope scope, TensorScope work) {
        Departure left = departure == null ? depart(toRanks, exchange, x, work) : departure;
        departure = null;
        if (left.x() != x) {
            throw new IllegalStateException("other tokens have left for the experts");
        }
        Tensor rows = scope.allocate(x.dtype(), toExperts.rows(), x.dim(1));
        int at = exchange.ownSent();
        int begin = exchange.ownReceived();
        toExperts
                .ops()
                .spreadSomeRows(
                        x,
                        toRanks.rowSlots(at, at + exchange.own()),
                        toRanks.k(),
                        toExperts.slots(begin, exchange.own()),
                        toExperts.k(),
                        rows);
        return new SplitArrival(rows, () -> {
            Tensor arrived = left.arrival().await();
            int end = begin + exchange.own();
            spread(arrived.rows(0, begin), 0, rows);
            spread(arrived.rows(end, exchange.received()), end, rows);
        });
    }

    private void spread(Tensor tokens, int from, Tensor rows) {
        if (tokens.dim(0) > 0) {
            toExperts.spread(tokens, from, rows);
        }
    }

    /**
     * Starts the way back of the rows of {@link #others}.
     *
     * @param rows of the experts, [R, C]
     */
    SplitSum startBack(Tensor rows, TensorScope work) {
        int begin = exchange.ownReceived();
        int end = begin + exchange.own();
        Tensor partial = work.allocate(rows.dtype(), exchange.received(), rows.dim(1));
        sum(rows, 0, partial.rows(0, begin));
        sum(rows, end, partial.rows(end, exchange.received()));
        Arrival arrival = exchange.startFromOthers(partial, work);
        return out -> {
            Tensor back = arrival.await();
            toExperts
                    .ops()
                    .sumRowsAndOwn(
                            back,
                            toRanks.rowOfSlot(),
                            exchange.ownSent(),
                            rows,
                            toExperts.slots(begin, exchange.own()),
                            toExperts.k(),
                            out);
        };
    }

    private void sum(Tensor rows, int from, Tensor tokens) {
        if (tokens.dim(0) > 0) {
            toExperts.sum(rows, from, tokens);
        }
    }
}
