package io.fourfold.parallel;

import io.fourfold.parallel.PipelineOperation.Kind;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.stream.IntStream;

/**
 * Runs the operation lists of all ranks of a pipeline with the strictest transfers there are: a send and its receive
 * happen together, when both ranks have come to them. Checks that what a computation needs is there and that everything
 * is done exactly once.
 */
final class PipelineSimulator {
    private record Fact(Kind kind, int microBatch, int stage) {}

    private final int ranks;
    private final int stages;
    private final int microBatches;
    private final boolean training;
    private final Set<Fact> done = new HashSet<>();

    PipelineSimulator(int ranks, int chunks, int microBatches, boolean training) {
        this.ranks = ranks;
        this.stages = ranks * chunks;
        this.microBatches = microBatches;
        this.training = training;
    }

    void run(PipelineSchedule schedule) {
        run(IntStream.range(0, ranks).mapToObj(schedule::operations).toList());
    }

    void run(List<List<PipelineOperation>> lists) {
        int[] next = new int[ranks];
        boolean moved = true;
        while (moved) {
            moved = false;
            for (int rank = 0; rank < ranks; rank++) {
                while (next[rank] < lists.get(rank).size() && advance(lists, next, rank)) {
                    moved = true;
                }
            }
        }
        List<String> waiting = new ArrayList<>();
        for (int rank = 0; rank < ranks; rank++) {
            if (next[rank] < lists.get(rank).size()) {
                waiting.add("rank " + rank + " at " + lists.get(rank).get(next[rank]));
            }
        }
        require(waiting.isEmpty(), "deadlock: " + waiting);
        int transfers = stages - 1;
        int each = training ? 2 * stages + 4 * transfers : stages + 2 * transfers;
        require(done.size() == each * microBatches, done.size() + " of " + each * microBatches + " operations");
    }

    private boolean advance(List<List<PipelineOperation>> lists, int[] next, int rank) {
        PipelineOperation operation = lists.get(rank).get(next[rank]);
        if (operation.isCompute()) {
            compute(rank, operation);
            next[rank]++;
            return true;
        }
        int peer = operation.peer();
        if (next[peer] >= lists.get(peer).size()) {
            return false;
        }
        PipelineOperation other = lists.get(peer).get(next[peer]);
        boolean sends = sends(operation);
        if (other.isCompute() || other.peer() != rank || sends(other) == sends) {
            return false;
        }
        transfer(sends ? rank : peer, sends ? operation : other, sends ? peer : rank, sends ? other : operation);
        next[rank]++;
        next[peer]++;
        return true;
    }

    private static boolean sends(PipelineOperation operation) {
        return operation.kind() == Kind.SEND_ACTIVATION || operation.kind() == Kind.SEND_GRADIENT;
    }

    private void compute(int rank, PipelineOperation operation) {
        int stage = stage(rank, operation);
        int microBatch = operation.microBatch();
        if (operation.kind() == Kind.FORWARD) {
            require(stage == 0 || done.contains(new Fact(Kind.RECEIVE_ACTIVATION, microBatch, stage)), "no input");
        } else {
            require(done.contains(new Fact(Kind.FORWARD, microBatch, stage)), "backward before forward");
            boolean last = stage == stages - 1;
            require(last || done.contains(new Fact(Kind.RECEIVE_GRADIENT, microBatch, stage)), "no gradient");
        }
        once(operation.kind(), microBatch, stage);
    }

    private void transfer(int from, PipelineOperation send, int to, PipelineOperation receive) {
        boolean activation = send.kind() == Kind.SEND_ACTIVATION;
        require(activation == (receive.kind() == Kind.RECEIVE_ACTIVATION), send + " meets " + receive);
        require(send.microBatch() == receive.microBatch(), send + " meets " + receive);
        int source = stage(from, send);
        int target = stage(to, receive);
        require(target == (activation ? source + 1 : source - 1), send + " meets " + receive);
        Kind producer = activation ? Kind.FORWARD : Kind.BACKWARD;
        require(done.contains(new Fact(producer, send.microBatch(), source)), "sent before it was computed");
        once(send.kind(), send.microBatch(), source);
        once(receive.kind(), receive.microBatch(), target);
    }

    private void once(Kind kind, int microBatch, int stage) {
        require(done.add(new Fact(kind, microBatch, stage)), kind + " twice");
        require(microBatch >= 0 && microBatch < microBatches, "micro-batch " + microBatch);
    }

    private int stage(int rank, PipelineOperation operation) {
        return operation.chunk() * ranks + rank;
    }

    private static void require(boolean condition, String problem) {
        if (!condition) {
            throw new AssertionError(problem);
        }
    }
}
