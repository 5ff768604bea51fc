package io.fourfold.optim;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.comm.ReduceOp;
import io.fourfold.kernels.op.WeightCodeOps;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.model.CodeLayout;
import io.fourfold.model.WeightCodes;
import java.util.Arrays;
import java.util.List;

/**
 * Gathers one kind's weights as codes: every rank finds the largest magnitudes of what it has updated, those are shared,
 * and then it codes its strips, see {@link CodeLayout}. The order is {@link #findLargest}, {@link #share}, {@link #encode},
 * {@link #gather}. {@link #share} and {@link #gather} only move memory and may run on another thread than the rank's.
 */
final class CodeExchange {
    private final Backend backend;
    private final OptimizerShard shard;
    private final WeightCodes codes;
    private final List<CodeLayout.Part> parts;
    private final long[] bounds;
    private final int firstOwn;
    private final long[] tailsTo;
    private final long[] tailsFrom;
    private final boolean hasTails;
    private final long[] words;

    CodeExchange(Backend backend, OptimizerShard shard, WeightCodes codes) {
        this.backend = backend;
        this.shard = shard;
        this.codes = codes;
        CodeLayout layout = codes.layout();
        int rank = shard.replicas().rank();
        parts = layout.parts(rank);
        bounds = layout.ownBounds(rank);
        firstOwn = layout.firstOwn(rank);
        tailsTo = layout.tailsTo(rank);
        tailsFrom = layout.tailsFrom(rank);
        hasTails = layout.hasTails();
        words = layout.wordCounts();
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
        backend.elementwise().fill(codes.amax(), 0f);
        if (bounds.length > 0) {
            Tensor own = codes.amax().view(firstOwn, Shape.of(bounds.length / 2));
            backend.weightCodes().largest(shard.flatWeights(), bounds, own);
        }
    }

    /** Brings the tails of strips to the ranks that code them, and the largest magnitudes to all; collective. */
    void share() {
        Communicator replicas = shard.replicas();
        if (hasTails) {
            Tensor flat = shard.flatWeights();
            long given = Arrays.stream(tailsTo).sum();
            long taken = Arrays.stream(tailsFrom).sum();
            // Nothing is taken behind the buffer's end: the last rank has no successor.
            long behind = taken == 0 ? 0 : shard.first() + shard.length();
            replicas.allToAllV(
                    flat.view(shard.first(), Shape.flat(given)),
                    tailsTo,
                    flat.view(behind, Shape.flat(taken)),
                    tailsFrom);
        }
        replicas.allReduce(codes.amax(), ReduceOp.MAX);
    }

    /** Codes this rank's strips; collective over the ranks that hold other parts of the same matrices. */
    void encode() {
        if (codes.split() != null) {
            codes.split().largest(codes.amax());
        }
        for (CodeLayout.Part part : parts) {
            CodeLayout.Matrices matrices = part.of();
            int rows = part.strips() * WeightCodeOps.TILE;
            backend.weightCodes()
                    .encode(
                            shard.flatWeights().view(part.offset(), Shape.of(rows, matrices.cols())),
                            part.firstStrip() * WeightCodeOps.TILE,
                            matrices.rows(),
                            codes.spec(),
                            codes.amax(matrices),
                            codes.words(part));
        }
    }

    /** Brings all codes to all replicas; collective. */
    void gather() {
        long own = Arrays.stream(words, 0, shard.replicas().rank()).sum();
        Tensor part = codes.words().view(own, Shape.flat(words[shard.replicas().rank()]));
        shard.replicas().allGatherV(part, codes.words(), words);
    }
}
