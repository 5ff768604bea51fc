package io.fourfold.kernels.cuda;

import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.ArrayList;
import java.util.List;

/**
 * Device memory released together. Closing does not wait for the GPU: later allocations reuse the memory in stream order.
 * With the system property {@code fourfold.poison=true} new memory is filled with NaN.
 */
public final class CudaTensorScope implements TensorScope {
    private static final boolean POISON = Boolean.getBoolean("fourfold.poison");

    private record Piece(long address, long bytes) {}

    private final Region region;
    private final CudaMemory memory;
    private final int until;
    private final List<Piece> pieces = new ArrayList<>();
    private long bytes;
    private boolean closed;

    /**
     * @param until before which lent range its memory is released, see {@link io.fourfold.kernels.tensor.Lending}
     */
    CudaTensorScope(Region region, CudaMemory memory, int until) {
        this.region = region;
        this.memory = memory;
        this.until = until;
    }

    @Override
    public Region region() {
        return region;
    }

    @Override
    public CudaTensor allocate(DType dtype, Shape shape) {
        CudaTensor tensor = take(dtype, shape);
        if (POISON) {
            memory.fillBytes(tensor.address(), (byte) 0xFF, tensor.bytes());
        }
        return tensor;
    }

    @Override
    public CudaTensor zeros(DType dtype, Shape shape) {
        CudaTensor tensor = take(dtype, shape);
        memory.fillBytes(tensor.address(), (byte) 0, tensor.bytes());
        return tensor;
    }

    @Override
    public CudaTensor allocate(DType dtype, int... dims) {
        return allocate(dtype, Shape.of(dims));
    }

    @Override
    public CudaTensor zeros(DType dtype, int... dims) {
        return zeros(dtype, Shape.of(dims));
    }

    @Override
    public long allocatedBytes() {
        return bytes;
    }

    @Override
    public void close() {
        if (closed) {
            return;
        }
        closed = true;
        bytes = 0;
        for (int i = pieces.size() - 1; i >= 0; i--) {
            Piece piece = pieces.get(i);
            memory.arena().release(region, piece.address, piece.bytes);
            memory.arena().toggle(region, piece.address, piece.bytes, i);
        }
        pieces.clear();
    }

    private CudaTensor take(DType dtype, Shape shape) {
        if (closed) {
            throw new IllegalStateException("allocating " + dtype + shape + " in a closed " + region + " scope");
        }
        long size = shape.elements() * dtype.bytes();
        long address = memory.arena().take(region, size, until);
        memory.arena().toggle(region, address, size, pieces.size());
        pieces.add(new Piece(address, size));
        bytes += size;
        return new CudaTensor(dtype, shape, address);
    }
}
