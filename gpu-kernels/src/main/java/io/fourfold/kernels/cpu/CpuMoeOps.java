package io.fourfold.kernels.cpu;

import io.fourfold.kernels.op.Activation;
import io.fourfold.kernels.op.MoeOps;
import io.fourfold.kernels.op.RouterSpec;
import io.fourfold.kernels.op.RowFormat;
import io.fourfold.kernels.op.RowPart;
import io.fourfold.kernels.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/** The MoE operations: one class per concern, gathered behind the interface. */
final class CpuMoeOps implements MoeOps {
    @Override
    public void route(
            RouterSpec spec,
            Tensor logits,
            @Nullable Tensor expertBias,
            Tensor scores,
            Tensor experts,
            Tensor weights,
            Tensor counts) {
        new CpuRouter(spec).route(logits, expertBias, scores, experts, weights);
        CpuPermutation.countExperts(experts, counts);
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
        new CpuRouterBackward(spec).run(logits, scores, experts, dweights, dscores, dlogits);
    }

    @Override
    public void balanceLoss(
            Tensor scores,
            boolean normalize,
            @Nullable Tensor fraction,
            float factor,
            Tensor dscores,
            Tensor scoreSums) {
        CpuRouterLosses.balanceLoss(scores, normalize, fraction, factor, dscores, scoreSums);
    }

    @Override
    public void zLoss(Tensor logits, float factor, Tensor out, Tensor dlogits) {
        CpuRouterLosses.zLoss(logits, factor, out, dlogits);
    }

    @Override
    public void buildPermutation(Tensor experts, Tensor offsets, Tensor rowOfSlot, Tensor slotOfRow) {
        CpuPermutation.build(experts, offsets, rowOfSlot, slotOfRow);
    }

    @Override
    public void buildPaddedPermutation(
            Tensor experts, int capacity, Tensor offsets, Tensor rowOfSlot, Tensor slotOfRow) {
        CpuPermutation.buildPadded(experts, capacity, offsets, rowOfSlot, slotOfRow);
    }

    @Override
    public void countExperts(Tensor experts, Tensor counts) {
        CpuPermutation.countExperts(experts, counts);
    }

    @Override
    public void dropOverCapacity(
            Tensor experts,
            @Nullable Tensor priority,
            int tokensPerGroup,
            int capacity,
            Tensor kept,
            Tensor keptCounts) {
        CpuCapacity.drop(experts, priority, tokensPerGroup, capacity, kept, keptCounts);
    }

    @Override
    public void transposeSegments(Tensor counts, Tensor offsets, Tensor sourceOfTarget, Tensor targetOfSource) {
        CpuPermutation.transposeSegments(counts, offsets, sourceOfTarget, targetOfSource);
    }

    @Override
    public void ranksOfSlots(Tensor experts, int expertsPerRank, Tensor ranks, Tensor counts) {
        CpuTokenRouting.ranksOfSlots(experts, expertsPerRank, ranks, counts);
    }

    @Override
    public void partOfSlots(Tensor offsets, Tensor slotOfRow, int from, int to, RowPart part) {
        CpuTokenRouting.partOfSlots(offsets, slotOfRow, from, to, part);
    }

    @Override
    public void packRouting(Tensor experts, Tensor weights, Tensor rowIds, Tensor slotOfRow, Tensor packed) {
        CpuTokenRouting.pack(experts, weights, rowIds, slotOfRow, packed);
    }

    @Override
    public void unpackRouting(
            Tensor packed, int firstExpert, int localExperts, Tensor experts, Tensor weights, Tensor rowIds) {
        CpuTokenRouting.unpack(packed, firstExpert, localExperts, experts, weights, rowIds);
    }

    @Override
    public void gatherRows(Tensor x, Tensor index, int divisor, Tensor out) {
        CpuRows.gather(x, index, divisor, out);
    }

    @Override
    public void spreadSomeRows(Tensor x, @Nullable Tensor index, int divisor, Tensor rowOfSlot, int k, Tensor out) {
        CpuRows.spread(x, index, divisor, rowOfSlot, k, out);
    }

    @Override
    public void sumRows(Tensor y, Tensor rowOfSlot, int k, Tensor out) {
        CpuRows.sum(y, rowOfSlot, k, out);
    }

    @Override
    public void sumRowsAndOwn(
            Tensor y, Tensor rowOfSlot, int from, Tensor own, Tensor rowOfOwnSlot, int k, Tensor out) {
        CpuRows.sumWithOwn(y, rowOfSlot, from, own, rowOfOwnSlot, k, out);
    }

    @Override
    public void packRows(Tensor x, RowFormat format, Tensor packed) {
        CpuRowPacking.pack(x, format, packed);
    }

    @Override
    public void unpackRows(Tensor packed, RowFormat format, Tensor out) {
        CpuRowPacking.unpack(packed, format, out);
    }

    @Override
    public void activation(Activation kind, Tensor in, @Nullable Tensor probability, Tensor out) {
        new CpuActivation(kind, in, probability).forward(out);
    }

    @Override
    public void activationBackward(
            Activation kind,
            Tensor dout,
            Tensor in,
            @Nullable Tensor probability,
            Tensor din,
            @Nullable Tensor dprobability) {
        new CpuActivation(kind, in, probability).backward(dout, din, dprobability);
    }
}
