package io.fourfold.kernels.cuda;

import static io.fourfold.kernels.cuda.CudaArguments.blocks;
import static io.fourfold.kernels.cuda.CudaArguments.floats;
import static io.fourfold.kernels.cuda.CudaArguments.int32;
import static io.fourfold.kernels.cuda.CudaArguments.kernel;
import static io.fourfold.kernels.cuda.CudaArguments.optionalFp32;
import static io.fourfold.kernels.cuda.CudaArguments.require;

import io.fourfold.kernels.op.Activation;
import io.fourfold.kernels.op.MoeOps;
import io.fourfold.kernels.op.RouterSpec;
import io.fourfold.kernels.op.RowFormat;
import io.fourfold.kernels.op.RowPart;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/** Permutation and activation on the GPU (permutation.cu, activation.cu); rows are moved in {@link CudaRows}, routing in {@link CudaRouter}, packing in {@link RowPacking}, tokens' ranks in {@link TokenRouting}. */
final class CudaMoeOps implements MoeOps {
    private static final int BLOCK = 256;
    private static final int ROWS_PER_BLOCK = 8;

    private final CudaRuntime cuda;
    private final SlotSort sort;
    private final CudaRouter router;
    private final RowPacking packing;
    private final TokenRouting routing;
    private final CudaRows rows;

    CudaMoeOps(CudaRuntime cuda) {
        this.cuda = cuda;
        this.sort = new SlotSort(cuda);
        this.router = new CudaRouter(cuda);
        this.packing = new RowPacking(cuda);
        this.routing = new TokenRouting(cuda);
        this.rows = new CudaRows(cuda);
    }

    @Override
    public void route(
            RouterSpec spec,
            Tensor logits,
            @Nullable Tensor expertBias,
            Tensor scores,
            Tensor experts,
            Tensor weights,
            Tensor counts) {
        router.route(spec, logits, expertBias, scores, experts, weights, counts);
    }

    @Override
    public void routeBackward(
            RouterSpec spec,
            Tensor logits,
            Tensor scores,
            Tensor experts,
            Tensor weights,
            Tensor dweights,
            @Nullable Tensor dscores,
            Tensor dlogits) {
        router.backward(spec, logits, scores, experts, dweights, dscores, dlogits);
    }

    @Override
    public void balanceLoss(
            Tensor scores,
            boolean normalize,
            @Nullable Tensor fraction,
            float factor,
            Tensor dscores,
            Tensor scoreSums) {
        router.balanceLoss(scores, normalize, fraction, factor, dscores, scoreSums);
    }

    @Override
    public void zLoss(Tensor logits, float factor, Tensor out, Tensor dlogits) {
        router.zLoss(logits, factor, out, dlogits);
    }

    @Override
    public void buildPermutation(Tensor experts, Tensor offsets, Tensor rowOfSlot, Tensor slotOfRow) {
        CudaTensor e = int32(experts, "experts", experts.elements());
        sort.byExpert(
                e,
                0,
                int32(offsets, "offsets", offsets.elements()),
                int32(rowOfSlot, "rowOfSlot", e.elements()),
                int32(slotOfRow, "slotOfRow", slotOfRow.elements()));
    }

    @Override
    public void buildPaddedPermutation(
            Tensor experts, int capacity, Tensor offsets, Tensor rowOfSlot, Tensor slotOfRow) {
        CudaTensor e = int32(experts, "experts", experts.elements());
        require(capacity > 0, "capacity " + capacity + " must be positive");
        long rows = (offsets.elements() - 1) * capacity;
        sort.byExpert(
                e,
                capacity,
                int32(offsets, "offsets", offsets.elements()),
                int32(rowOfSlot, "rowOfSlot", e.elements()),
                int32(slotOfRow, "slotOfRow", rows));
    }

    @Override
    public void countExperts(Tensor experts, Tensor counts) {
        int n = Math.toIntExact(experts.elements());
        int bins = Math.toIntExact(counts.elements());
        CudaTensor tally = int32(counts, "counts", bins);
        cuda.memory().zero(tally);
        cuda.function("permutation", "count_experts")
                .launch(
                        Math.min(blocks(n, BLOCK * 4), cuda.device().multiprocessors() * 4),
                        1,
                        1,
                        BLOCK,
                        bins * 4,
                        int32(experts, "experts", n),
                        n,
                        bins,
                        tally);
    }

    @Override
    public void dropOverCapacity(
            Tensor experts,
            @Nullable Tensor priority,
            int tokensPerGroup,
            int capacity,
            Tensor kept,
            Tensor keptCounts) {
        int n = Math.toIntExact(experts.elements());
        int bins = Math.toIntExact(keptCounts.elements());
        int tokens = experts.shape().rows();
        require(
                tokensPerGroup > 0 && tokens % tokensPerGroup == 0,
                tokens + " tokens do not divide into groups of " + tokensPerGroup);
        CudaTensor e = int32(experts, "experts", n);
        CudaTensor tally = int32(keptCounts, "keptCounts", bins);
        cuda.memory().zero(tally);
        try (CudaTensorScope work = cuda.workspace()) {
            CudaTensor offsets = work.allocate(DType.INT32, bins + 1);
            CudaTensor rowOfSlot = work.allocate(DType.INT32, Math.max(1, n));
            CudaTensor slotOfRow = work.allocate(DType.INT32, Math.max(1, n));
            sort.byExpert(e, 0, offsets, rowOfSlot, slotOfRow);
            cuda.function("permutation", "drop_over_capacity")
                    .launchLine(
                            blocks(n, BLOCK),
                            BLOCK,
                            e,
                            optionalFp32(priority, "priority", n),
                            n,
                            tokensPerGroup * experts.shape().cols(),
                            capacity,
                            offsets,
                            rowOfSlot,
                            slotOfRow,
                            int32(kept, "kept", n),
                            tally);
        }
    }

    @Override
    public void transposeSegments(Tensor counts, Tensor offsets, Tensor sourceOfTarget, Tensor targetOfSource) {
        int experts = Math.toIntExact(offsets.elements()) - 1;
        int segments = Math.toIntExact(counts.elements());
        require(experts >= 1 && segments % experts == 0, "counts " + counts + " for " + experts + " experts");
        int sources = segments / experts;
        int rows = Math.toIntExact(sourceOfTarget.elements());
        try (CudaTensorScope work = cuda.workspace()) {
            CudaTensor sourceStarts = work.allocate(DType.INT32, segments + 1);
            CudaTensor targetStarts = work.allocate(DType.INT32, segments + 1);
            cuda.function("permutation", "segment_starts")
                    .launchLine(
                            1,
                            1024,
                            int32(counts, "counts", segments),
                            sources,
                            experts,
                            rows,
                            sourceStarts,
                            targetStarts,
                            int32(offsets, "offsets", experts + 1));
            cuda.function("permutation", "transpose_segments")
                    .launchLine(
                            blocks(rows, BLOCK),
                            BLOCK,
                            sourceStarts,
                            targetStarts,
                            sources,
                            experts,
                            rows,
                            int32(sourceOfTarget, "sourceOfTarget", rows),
                            int32(targetOfSource, "targetOfSource", rows));
        }
    }

    @Override
    public void ranksOfSlots(Tensor experts, int expertsPerRank, Tensor ranks, Tensor counts) {
        routing.ranksOfSlots(experts, expertsPerRank, ranks, counts);
    }

    @Override
    public void partOfSlots(Tensor offsets, Tensor slotOfRow, int from, int to, RowPart part) {
        routing.partOfSlots(offsets, slotOfRow, from, to, part);
    }

    @Override
    public void packRouting(Tensor experts, Tensor weights, Tensor rowIds, Tensor slotOfRow, Tensor packed) {
        routing.pack(experts, weights, rowIds, slotOfRow, packed);
    }

    @Override
    public void unpackRouting(
            Tensor packed, int firstExpert, int localExperts, Tensor experts, Tensor weights, Tensor rowIds) {
        routing.unpack(packed, firstExpert, localExperts, experts, weights, rowIds);
    }

    @Override
    public void gatherRows(Tensor x, Tensor index, int divisor, Tensor out) {
        rows.gather(x, index, divisor, out);
    }

    @Override
    public void spreadRows(Tensor x, Tensor slotOfRow, Tensor rowOfSlot, int k, Tensor out) {
        rows.spread(x, slotOfRow, rowOfSlot, k, out);
    }

    @Override
    public void spreadSomeRows(Tensor x, @Nullable Tensor index, int divisor, Tensor rowOfSlot, int k, Tensor out) {
        rows.spreadSome(x, index, divisor, rowOfSlot, k, out);
    }

    @Override
    public void sumRows(Tensor y, Tensor rowOfSlot, int k, Tensor out) {
        rows.sum(y, rowOfSlot, k, out);
    }

    @Override
    public void sumRowsAndOwn(
            Tensor y, Tensor rowOfSlot, int from, Tensor own, Tensor rowOfOwnSlot, int k, Tensor out) {
        rows.sumAndOwn(y, rowOfSlot, from, own, rowOfOwnSlot, k, out);
    }

    @Override
    public void packRows(Tensor x, RowFormat format, Tensor packed) {
        packing.pack(x, format, packed);
    }

    @Override
    public void unpackRows(Tensor packed, RowFormat format, Tensor out) {
        packing.unpack(packed, format, out);
    }

    @Override
    public void activation(Activation kind, Tensor in, @Nullable Tensor probability, Tensor out) {
        CudaTensor from = CudaTensor.of(in);
        int rows = from.shape().rows();
        int width = width(kind, from);
        CudaTensor to = floats(out, "out", (long) rows * width);
        cuda.function("activation", kernel(name(kind), from, to))
                .launchLine(
                        blocks(rows, ROWS_PER_BLOCK),
                        BLOCK,
                        from,
                        optionalFp32(probability, "probability", rows),
                        to,
                        rows,
                        width);
    }

    @Override
    public void activationBackward(
            Activation kind,
            Tensor dout,
            Tensor in,
            @Nullable Tensor probability,
            Tensor din,
            @Nullable Tensor dprobability) {
        CudaTensor from = CudaTensor.of(in);
        int rows = from.shape().rows();
        int width = width(kind, from);
        CudaTensor upstream = floats(dout, "dout", (long) rows * width);
        CudaTensor to = floats(din, "din", from.elements());
        require(from.dtype() == to.dtype(), "in and din must have the same type: " + from + ", " + to);
        cuda.function("activation", kernel(name(kind) + "_backward", upstream, from))
                .launchLine(
                        blocks(rows, ROWS_PER_BLOCK),
                        BLOCK,
                        upstream,
                        from,
                        optionalFp32(probability, "probability", rows),
                        to,
                        optionalFp32(dprobability, "dprobability", rows),
                        rows,
                        width);
    }

    private static String name(Activation kind) {
        return kind == Activation.SWIGLU ? "swiglu" : "relu2";
    }

    private static int width(Activation kind, CudaTensor in) {
        int width = in.shape().cols() / kind.inputFactor();
        require(width * kind.inputFactor() == in.shape().cols(), kind + " of an odd number of columns: " + in);
        return width;
    }
}
