package io.fourfold.optim;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.ReduceOp;
import io.fourfold.kernels.op.WeightCodeOps;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.model.CodeLayout;
import io.fourfold.model.WeightCodes;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.LongStream;
import org.jspecify.annotations.Nullable;

/**
 * Gathers one kind's weights as codes: every rank finds the largest magnitudes of what it has updated, those are shared,
 * and then it codes its strips, see {@link CodeLayout}. The order is {@link #findLargest}, {@link #share}, {@link #encode},
 * and the {@link #gathers}. {@link #share} and those only move memory and may run on another thread than the rank's.
 */
final class CodeExchange {
    private final Backend backend;
    private final OptimizerShard shard;
    private final WeightCodes codes;
    private final List<CodeLayout.Part> parts;
    private final long[] bounds;
    private final int[] matrices;
    private final @Nullable StripTails tails;
    private final List<Runnable> gathers = new ArrayList<>();

    CodeExchange(Backend backend, OptimizerShard shard, WeightCodes codes) {
        this.backend = backend;
        this.shard = shard;
        this.codes = codes;
        CodeLayout layout = codes.layout();
        int rank = shard.replicas().rank();
        parts = layout.parts(rank);
        List<CodeLayout.MatrixRange> own = layout.ownRanges(rank);
        bounds = own.stream()
                .flatMapToLong(
                        each -> LongStream.of(each.range().from(), each.range().to()))
                .toArray();
        matrices = own.stream().mapToInt(CodeLayout.MatrixRange::matrix).toArray();
        tails = layout.hasTails() ? new StripTails(backend, shard, layout) : null;
        for (int bucket = layout.sharding().buckets() - 1; bucket >= 0; bucket--) {
            addGather(layout, bucket);
        }
    }

    private void addGather(CodeLayout layout, int bucket) {
        long[] counts = layout.wordCounts(bucket);
        int rank = shard.replicas().rank();
        long before = 0;
        long all = 0;
        for (int other = 0; other < counts.length; other++) {
            before += other < rank ? counts[other] : 0;
            all += counts[other];
        }
        if (all > 0) {
            long first = layout.firstWord(bucket);
            Tensor own = codes.words().view(first + before, Shape.flat(counts[rank]));
            Tensor whole = codes.words().view(first, Shape.flat(all));
            gathers.add(() -> shard.replicas().allGatherV(own, whole, counts));
        }
    }

    OptimizerShard shard() {
        return shard;
    }

    /** What travels as it is. */
    List<CodeLayout.Range> exact() {
        return codes.layout().exact();
    }

    /** The largest magnitude of this rank's part of each matrix. */
    void findLargest() {
        backend.weightCodes().largest(shard.flatWeights(), bounds, matrices, codes.amax());
        if (tails != null) {
            tails.collect();
        }
    }

    /** Brings the tails of strips to the ranks that code them, and the largest magnitudes to all; collective. */
    void share() {
        if (tails != null) {
            tails.move();
        }
        shard.replicas().allReduce(codes.amax(), ReduceOp.MAX);
    }

    /** Codes this rank's strips; collective over the ranks that hold other parts of the same matrices. */
    void encode() {
        if (tails != null) {
            tails.place();
        }
        if (codes.split() != null) {
            codes.split().largest(codes.amax());
        }
        for (CodeLayout.Part part : parts) {
            CodeLayout.Matrices of = part.of();
            int rows = part.strips() * WeightCodeOps.TILE;
            backend.weightCodes()
                    .encode(
                            shard.flatWeights().view(part.offset(), Shape.of(rows, of.cols())),
                            part.firstStrip() * WeightCodeOps.TILE,
                            of.rows(),
                            codes.spec(),
                            codes.amax(of),
                            codes.words(part));
        }
    }

    /** Bring all codes to all replicas, bucket by bucket; collective. */
    List<Runnable> gathers() {
        return gathers;
    }
}
