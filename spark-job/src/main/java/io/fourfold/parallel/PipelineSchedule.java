package io.fourfold.parallel;

import io.fourfold.parallel.PipelineOperation.Kind;
import io.fourfold.parallel.PipelineTimeline.Timed;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;

/**
 * What every pipeline rank does in one step, in order: forwards, backwards, and the transfers between neighbouring stages.
 *
 * <p>It cannot deadlock, even when a send waits for its receiver: each rank's list is its part of one global sequence in
 * which a transfer is a single event of both ranks. Whatever ranks have done, the earliest event of that sequence which is
 * not done has both its ranks waiting for it. The sequence sorts computations by their start and transfers by the end of
 * what produces them on a {@link PipelineTimeline}, so that a receive stands where its data normally is there already.
 */
public final class PipelineSchedule {
    private record Event(int time, boolean transfer, List<Integer> ranks, List<PipelineOperation> operations) {}

    private final List<List<PipelineOperation>> operations;
    private final double bubble;

    private PipelineSchedule(int ranks, int chunks, PipelineTimeline timeline) {
        List<Event> events = new ArrayList<>();
        int busy = 0;
        for (Timed timed : timeline.timed()) {
            busy += timed.end() - timed.start();
            events.add(new Event(timed.start(), false, List.of(timed.rank()), List.of(timed.operation())));
            addTransfer(timed, ranks, chunks, events);
        }
        // A stable sort: among simultaneous events the order of the timeline decides, the same for every rank.
        events.sort(Comparator.comparingInt(Event::time).thenComparing(e -> e.transfer() ? 0 : 1));
        operations = new ArrayList<>();
        for (int rank = 0; rank < ranks; rank++) {
            operations.add(new ArrayList<>());
        }
        for (Event event : events) {
            for (int i = 0; i < event.ranks().size(); i++) {
                operations.get(event.ranks().get(i)).add(event.operations().get(i));
            }
        }
        int span = timeline.makespan() * ranks;
        bubble = span == 0 ? 0 : 1 - (double) busy / span;
    }

    /**
     * A training step: 1F1B, interleaved when {@code chunks > 1}. When the micro-batches do not divide by the ranks, an
     * interleaved order can wait for itself; ranks then run as few more forwards ahead as avoid that.
     */
    public static PipelineSchedule training(int ranks, int chunks, int microBatches) {
        check(ranks, chunks, microBatches);
        for (int extra = 0; extra <= chunks * microBatches; extra++) {
            List<List<PipelineOperation>> orders = new ArrayList<>();
            for (int rank = 0; rank < ranks; rank++) {
                orders.add(PipelineOrder.training(ranks, chunks, microBatches, rank, extra));
            }
            PipelineTimeline timeline = new PipelineTimeline(orders, chunks, microBatches);
            if (timeline.circle() == null) {
                return new PipelineSchedule(ranks, chunks, timeline);
            }
        }
        throw new IllegalStateException("no order of " + microBatches + " micro-batches on " + ranks + " x " + chunks);
    }

    /** Forwards only. */
    public static PipelineSchedule forwardOnly(int ranks, int chunks, int microBatches) {
        check(ranks, chunks, microBatches);
        List<PipelineOperation> order = PipelineOrder.forwardOnly(ranks, chunks, microBatches);
        List<List<PipelineOperation>> orders = Collections.nCopies(ranks, order);
        return new PipelineSchedule(ranks, chunks, new PipelineTimeline(orders, chunks, microBatches));
    }

    private static void check(int ranks, int chunks, int microBatches) {
        if (ranks < 1 || chunks < 1 || microBatches < 1 || (ranks == 1 && chunks > 1)) {
            throw new IllegalArgumentException("no pipeline of " + ranks + " ranks with " + chunks + " chunks each and "
                    + microBatches + " micro-batches");
        }
    }

    /** The operations of a pipeline rank. */
    public List<PipelineOperation> operations(int rank) {
        return List.copyOf(operations.get(rank));
    }

    /** Share of the ranks' time without computation when a backward takes twice a forward: (PP-1)/(V*m + PP-1) at best. */
    public double bubble() {
        return bubble;
    }

    /** {@link #peakInFlight} of a training schedule whose micro-batches divide by the ranks, without making it. */
    public static long inFlight(int ranks, int chunks, int microBatches, int rank) {
        return Math.min(PipelineOrder.ahead(ranks, chunks, rank) + 1L, (long) chunks * microBatches);
    }

    /** Largest number of (micro-batch, chunk) whose forward is done and whose backward is not. */
    public int peakInFlight(int rank) {
        int inFlight = 0;
        int peak = 0;
        for (PipelineOperation operation : operations.get(rank)) {
            if (operation.kind() == Kind.FORWARD) {
                inFlight++;
                peak = Math.max(peak, inFlight);
            } else if (operation.kind() == Kind.BACKWARD) {
                inFlight--;
            }
        }
        return peak;
    }

    private static void addTransfer(Timed timed, int ranks, int chunks, List<Event> events) {
        PipelineOperation operation = timed.operation();
        boolean forward = operation.kind() == Kind.FORWARD;
        int stage = operation.chunk() * ranks + timed.rank();
        int target = forward ? stage + 1 : stage - 1;
        if (target < 0 || target >= ranks * chunks) {
            return;
        }
        int peer = target % ranks;
        int microBatch = operation.microBatch();
        events.add(new Event(
                timed.end(),
                true,
                List.of(timed.rank(), peer),
                List.of(
                        new PipelineOperation(
                                forward ? Kind.SEND_ACTIVATION : Kind.SEND_GRADIENT,
                                microBatch,
                                operation.chunk(),
                                peer),
                        new PipelineOperation(
                                forward ? Kind.RECEIVE_ACTIVATION : Kind.RECEIVE_GRADIENT,
                                microBatch,
                                target / ranks,
                                timed.rank()))));
    }
}
