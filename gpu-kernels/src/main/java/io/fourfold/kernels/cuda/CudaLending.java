package io.fourfold.kernels.cuda;

import io.fourfold.kernels.tensor.Lending;
import io.fourfold.kernels.tensor.LentMemory;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.List;

/**
 * Lends device memory of one region of the arena to scopes of other regions. Everything runs on one stream, so a piece that
 * the host has released can be written by whatever is queued next.
 */
final class CudaLending implements Lending {
    private final CudaMemory memory;
    private final LentMemory lent;

    CudaLending(CudaMemory memory, List<Range> ranges) {
        this.memory = memory;
        lent = new LentMemory(ranges.stream().map(CudaLending::addresses).toList(), CudaArena.ALIGNMENT);
        memory.arena().lend(lent);
    }

    private static LentMemory.Range addresses(Range range) {
        CudaTensor tensor = CudaTensor.of(range.memory());
        return new LentMemory.Range(range.name(), tensor.address(), tensor.bytes());
    }

    @Override
    public TensorScope scope(Region region, int until) {
        return new CudaTensorScope(region, memory, until);
    }

    @Override
    public void workspaceUntil(int until) {
        memory.arena().setWorkspaceUntil(until);
    }

    @Override
    public void reclaim(int range) {
        lent.reclaim(range);
    }

    @Override
    public void close() {
        memory.arena().endLending();
    }
}
