package io.fourfold.parallel;

import io.fourfold.parallel.PipelineOperation.Kind;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * When every forward and backward would run if a chunk's forward took one unit of time, its backward two, and transfers
 * nothing. Decides where transfers go and how large the bubble is; it predicts no seconds.
 */
final class PipelineTimeline {
    private static final int UNKNOWN = -1;

    /** A computation and when it starts. */
    record Timed(int rank, PipelineOperation operation, int start, int end) {}

    private final int ranks;
    private final int stages;
    private final int[] forwardEnd;
    private final int[] backwardEnd;
    private final List<Timed> timed = new ArrayList<>();
    private final @Nullable String circle;

    /**
     * @param orders the computations of each rank
     */
    PipelineTimeline(List<List<PipelineOperation>> orders, int chunks, int microBatches) {
        ranks = orders.size();
        stages = ranks * chunks;
        forwardEnd = new int[stages * microBatches];
        backwardEnd = new int[stages * microBatches];
        Arrays.fill(forwardEnd, UNKNOWN);
        Arrays.fill(backwardEnd, UNKNOWN);
        int[] next = new int[ranks];
        int[] free = new int[ranks];
        boolean moved = true;
        while (moved) {
            moved = false;
            for (int rank = 0; rank < ranks; rank++) {
                while (next[rank] < orders.get(rank).size()) {
                    PipelineOperation operation = orders.get(rank).get(next[rank]);
                    int ready = ready(rank, operation);
                    if (ready == UNKNOWN) {
                        break;
                    }
                    free[rank] = run(rank, operation, Math.max(free[rank], ready));
                    next[rank]++;
                    moved = true;
                }
            }
        }
        String waiting = null;
        for (int rank = 0; rank < ranks; rank++) {
            if (next[rank] < orders.get(rank).size()) {
                waiting = "pipeline rank " + rank + " waits for ever before "
                        + orders.get(rank).get(next[rank]);
            }
        }
        circle = waiting;
    }

    /** Which computation waits for ever because the orders wait for each other in a circle; null when none does. */
    @Nullable
    String circle() {
        return circle;
    }

    List<Timed> timed() {
        return timed;
    }

    /** When the last computation ends. */
    int makespan() {
        return timed.stream().mapToInt(Timed::end).max().orElse(0);
    }

    /** When what the computation needs is there; unknown when it has not run yet. */
    private int ready(int rank, PipelineOperation operation) {
        int stage = operation.chunk() * ranks + rank;
        if (operation.kind() == Kind.FORWARD) {
            return stage == 0 ? 0 : forwardEnd[at(operation.microBatch(), stage - 1)];
        }
        return stage == stages - 1
                ? forwardEnd[at(operation.microBatch(), stage)]
                : backwardEnd[at(operation.microBatch(), stage + 1)];
    }

    private int run(int rank, PipelineOperation operation, int start) {
        int stage = operation.chunk() * ranks + rank;
        boolean forward = operation.kind() == Kind.FORWARD;
        int end = start + (forward ? 1 : 2);
        (forward ? forwardEnd : backwardEnd)[at(operation.microBatch(), stage)] = end;
        timed.add(new Timed(rank, operation, start, end));
        return end;
    }

    private int at(int microBatch, int stage) {
        return microBatch * stages + stage;
    }
}
