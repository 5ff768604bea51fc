package io.fourfold.optim;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import io.fourfold.model.CodeLayout;
import java.util.List;
import java.util.function.ToIntFunction;
import org.jspecify.annotations.Nullable;

/**
 * Brings the tails of strips, which lie in many places of the flat buffer, to the ranks that code them, in one all-to-all of
 * FP32 weights: {@link #collect}, {@link #move}, {@link #place}. Only {@link #move} communicates, and needs no backend.
 */
final class StripTails {
    private final Backend backend;
    private final OptimizerShard shard;
    private final List<CodeLayout.Tail> sent;
    private final List<CodeLayout.Tail> received;
    private final long[] sendCounts;
    private final long[] receiveCounts;
    private @Nullable TensorScope scope;
    private @Nullable Tensor send;
    private @Nullable Tensor receive;

    StripTails(Backend backend, OptimizerShard shard, CodeLayout layout) {
        this.backend = backend;
        this.shard = shard;
        int rank = shard.replicas().rank();
        int ranks = shard.replicas().size();
        sent = layout.tailsFrom(rank);
        received = layout.tailsTo(rank);
        sendCounts = counts(sent, ranks, CodeLayout.Tail::to);
        receiveCounts = counts(received, ranks, CodeLayout.Tail::from);
    }

    private static long[] counts(List<CodeLayout.Tail> tails, int ranks, ToIntFunction<CodeLayout.Tail> peer) {
        long[] counts = new long[ranks];
        tails.forEach(tail -> counts[peer.applyAsInt(tail)] += tail.range().elements());
        return counts;
    }

    /** Puts what this rank sends in one place. */
    void collect() {
        TensorScope made = backend.scope(Region.WORKSPACE);
        scope = made;
        Tensor outgoing = made.allocate(DType.FP32, Shape.flat(elements(sent)));
        long at = 0;
        for (CodeLayout.Tail tail : sent) {
            backend.elementwise().copy(part(tail), outgoing.view(at, part(tail).shape()));
            at += tail.range().elements();
        }
        send = outgoing;
        receive = made.allocate(DType.FP32, Shape.flat(elements(received)));
    }

    /** Collective. */
    void move() {
        shard.replicas().allToAllV(made(send), sendCounts, made(receive), receiveCounts);
    }

    /** Writes what was received where it belongs in the flat buffer. */
    void place() {
        Tensor incoming = made(receive);
        long at = 0;
        for (CodeLayout.Tail tail : received) {
            backend.elementwise().copy(incoming.view(at, part(tail).shape()), part(tail));
            at += tail.range().elements();
        }
        try (TensorScope done = scope) {
            send = null;
            receive = null;
        }
        scope = null;
    }

    private Tensor part(CodeLayout.Tail tail) {
        return shard.flatWeights()
                .view(tail.range().from(), Shape.flat(tail.range().elements()));
    }

    private static long elements(List<CodeLayout.Tail> tails) {
        return tails.stream().mapToLong(tail -> tail.range().elements()).sum();
    }

    private static Tensor made(@Nullable Tensor tensor) {
        if (tensor == null) {
            throw new IllegalStateException("tails were not collected");
        }
        return tensor;
    }
}
