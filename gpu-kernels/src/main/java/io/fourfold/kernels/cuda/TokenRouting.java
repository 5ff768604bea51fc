package io.fourfold.kernels.cuda;

import static io.fourfold.kernels.cuda.CudaArguments.blocks;
import static io.fourfold.kernels.cuda.CudaArguments.fp32;
import static io.fourfold.kernels.cuda.CudaArguments.int32;
import static io.fourfold.kernels.cuda.CudaArguments.require;

import io.fourfold.kernels.op.RowPart;
import io.fourfold.kernels.tensor.Tensor;

/** Ranks of tokens, and what travels beside a token that goes once to a rank: token_routing.cu, one thread a token. */
final class TokenRouting {
    private static final String FILE = "token_routing";
    private static final int BLOCK = 256;

    private final CudaRuntime cuda;

    TokenRouting(CudaRuntime cuda) {
        this.cuda = cuda;
    }

    void ranksOfSlots(Tensor experts, int expertsPerRank, Tensor ranks, Tensor counts) {
        CudaTensor e = int32(experts, "experts", experts.elements());
        int k = e.shape().cols();
        int tokens = k == 0 ? 0 : Math.toIntExact(e.elements() / k);
        int rankCount = Math.toIntExact(counts.elements() / 2);
        require(expertsPerRank > 0, "experts per rank " + expertsPerRank + " must be positive");
        CudaTensor tally = int32(counts, "counts", 2L * rankCount);
        cuda.memory().zero(tally);
        cuda.function(FILE, "ranks_of_slots")
                .launch(
                        blocks(tokens, BLOCK),
                        1,
                        1,
                        BLOCK,
                        2 * rankCount * Integer.BYTES,
                        e,
                        tokens,
                        k,
                        expertsPerRank,
                        rankCount,
                        int32(ranks, "ranks", e.elements()),
                        tally);
    }

    void partOfSlots(Tensor offsets, Tensor slotOfRow, int from, int to, RowPart part) {
        int experts = Math.toIntExact(offsets.elements()) - 1;
        cuda.function(FILE, "part_of_slots")
                .launchLine(
                        blocks(experts, BLOCK),
                        BLOCK,
                        int32(offsets, "offsets", experts + 1L),
                        int32(slotOfRow, "slotOfRow", slotOfRow.elements()),
                        experts,
                        from,
                        to,
                        int32(part.begins(), "begins", experts),
                        int32(part.ends(), "ends", experts));
    }

    void pack(Tensor experts, Tensor weights, Tensor rowIds, Tensor slotOfRow, Tensor packed) {
        CudaTensor e = int32(experts, "experts", experts.elements());
        int k = e.shape().cols();
        int rows = Math.toIntExact(slotOfRow.elements());
        cuda.function(FILE, "pack_routing")
                .launchLine(
                        blocks(rows, BLOCK),
                        BLOCK,
                        e,
                        fp32(weights, "weights", e.elements()),
                        int32(rowIds, "rowIds", e.elements() / k),
                        int32(slotOfRow, "slotOfRow", rows),
                        rows,
                        k,
                        int32(packed, "packed", rows * (2L * k + 1)));
    }

    void unpack(Tensor packed, int firstExpert, int localExperts, Tensor experts, Tensor weights, Tensor rowIds) {
        int rows = Math.toIntExact(rowIds.elements());
        int k = CudaTensor.of(experts).shape().cols();
        cuda.function(FILE, "unpack_routing")
                .launchLine(
                        blocks(rows, BLOCK),
                        BLOCK,
                        int32(packed, "packed", rows * (2L * k + 1)),
                        rows,
                        k,
                        firstExpert,
                        localExperts,
                        int32(experts, "experts", (long) rows * k),
                        fp32(weights, "weights", (long) rows * k),
                        int32(rowIds, "rowIds", rows));
    }
}
