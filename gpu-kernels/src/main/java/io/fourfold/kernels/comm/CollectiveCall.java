package io.fourfold.kernels.comm;

import io.fourfold.kernels.cpu.CpuTensor;
import io.fourfold.kernels.tensor.DType;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * What one member asks for. Members compare their calls before they touch each other's memory.
 *
 * @param reduce the reduction, if there is one
 * @param root the sender of a broadcast, else 0
 * @param send what others may read; in-place operations have it as receive, too
 * @param sendCounts elements for each member, where they differ
 * @param receiveCounts elements from each member (all-to-all)
 */
record CollectiveCall(
        Kind kind,
        @Nullable ReduceOp reduce,
        int root,
        @Nullable CpuTensor send,
        long @Nullable [] sendCounts,
        long @Nullable [] receiveCounts) {

    /** The operations that need all members. */
    enum Kind {
        ALL_REDUCE("allReduce"),
        REDUCE_SCATTER("reduceScatter"),
        ALL_GATHER("allGather"),
        ALL_GATHER_V("allGatherV"),
        REDUCE_SCATTER_V("reduceScatterV"),
        ALL_TO_ALL_V("allToAllV"),
        BROADCAST("broadcast"),
        BARRIER("barrier");

        private final String label;

        Kind(String label) {
            this.label = label;
        }

        @Override
        public String toString() {
            return label;
        }
    }

    static CollectiveCall of(Kind kind, @Nullable ReduceOp reduce, CpuTensor send) {
        return new CollectiveCall(kind, reduce, 0, send, null, null);
    }

    static CollectiveCall barrier() {
        return new CollectiveCall(Kind.BARRIER, null, 0, null, null, null);
    }

    /** The tensor others may read. */
    CpuTensor payload() {
        if (send == null) {
            throw new IllegalStateException(kind + " carries no tensor");
        }
        return send;
    }

    /** Null when the calls of members a and b fit together, else what is wrong. */
    static @Nullable String mismatch(CollectiveCall first, int a, CollectiveCall second, int b) {
        if (first.kind != second.kind
                || first.reduce != second.reduce
                || first.root != second.root
                || first.dtype() != second.dtype()) {
            return "different operations";
        }
        switch (first.kind) {
            case ALL_REDUCE, REDUCE_SCATTER, ALL_GATHER, BROADCAST -> {
                return first.payload().elements() == second.payload().elements() ? null : "different sizes";
            }
            case ALL_GATHER_V, REDUCE_SCATTER_V -> {
                return Arrays.equals(first.sendCounts, second.sendCounts) ? null : "different counts";
            }
            case ALL_TO_ALL_V -> {
                boolean agree = count(first.sendCounts, b) == count(second.receiveCounts, a)
                        && count(second.sendCounts, a) == count(first.receiveCounts, b);
                return agree ? null : "counts sent and counts expected differ";
            }
            case BARRIER -> {
                return null;
            }
        }
        throw new IllegalStateException("unknown operation " + first.kind);
    }

    private static long count(long @Nullable [] counts, int member) {
        return counts == null ? -1 : counts[member];
    }

    private @Nullable DType dtype() {
        return send == null ? null : send.dtype();
    }

    /** For example {@code allReduce(SUM, FP32[100])}. */
    String describe() {
        StringBuilder text = new StringBuilder(kind.toString()).append('(');
        if (reduce != null) {
            text.append(reduce).append(", ");
        }
        if (send != null) {
            text.append(send);
        }
        if (sendCounts != null) {
            text.append(receiveCounts == null ? ", counts " : ", sending ").append(Arrays.toString(sendCounts));
        }
        if (receiveCounts != null) {
            text.append(", receiving ").append(Arrays.toString(receiveCounts));
        }
        if (kind == Kind.BROADCAST) {
            text.append(", root ").append(root);
        }
        return text.append(')').toString();
    }
}
