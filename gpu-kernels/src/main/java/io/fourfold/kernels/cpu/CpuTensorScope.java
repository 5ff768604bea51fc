package io.fourfold.kernels.cpu;

import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Heap arrays released together. Activations and workspace come from the backend's {@link ArrayPool}; the long-lived
 * regions get arrays of their exact size. The backing array of a tensor can be longer than the tensor.
 */
public final class CpuTensorScope implements TensorScope {
    private final Region region;
    private final ArrayPool pool;
    private final boolean pooled;
    private final @Nullable CpuLending lending;
    private final int until;
    private final List<CpuLending.Piece> lent = new ArrayList<>();
    private final List<float[]> floats = new ArrayList<>();
    private final List<int[]> ints = new ArrayList<>();
    private long bytes;
    private boolean closed;

    CpuTensorScope(Region region, ArrayPool pool) {
        this(region, pool, null, 0);
    }

    /**
     * @param lending where its float tensors may lie, released before range {@code until} is reclaimed
     */
    CpuTensorScope(Region region, ArrayPool pool, @Nullable CpuLending lending, int until) {
        this.region = region;
        this.pool = pool;
        this.lending = lending;
        this.until = until;
        this.pooled = region == Region.ACTIVATIONS || region == Region.WORKSPACE;
    }

    @Override
    public Region region() {
        return region;
    }

    @Override
    public CpuTensor allocate(DType dtype, Shape shape) {
        return take(dtype, shape);
    }

    @Override
    public CpuTensor zeros(DType dtype, Shape shape) {
        CpuTensor tensor = take(dtype, shape);
        if (!dtype.isFloat()) {
            Arrays.fill(tensor.ints(), 0, tensor.size(), 0);
        } else {
            Arrays.fill(tensor.floats(), tensor.offset(), tensor.offset() + tensor.size(), 0f);
        }
        return tensor;
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
        if (lending != null) {
            lent.forEach(lending::release);
        }
        lent.clear();
        floats.forEach(pool::release);
        ints.forEach(pool::release);
        floats.clear();
        ints.clear();
    }

    private CpuTensor take(DType dtype, Shape shape) {
        if (closed) {
            throw new IllegalStateException("allocating " + dtype + shape + " in a closed " + region + " scope");
        }
        long elements = shape.elements();
        if (elements > Integer.MAX_VALUE - 8L) {
            throw new IllegalArgumentException("a CPU tensor holds at most 2^31 - 9 elements, asked for " + dtype
                    + shape + " (" + elements + " elements); spread the parameters over more ranks or train on a GPU");
        }
        bytes += elements * dtype.bytes();
        int n = (int) elements;
        if (!dtype.isFloat()) {
            return CpuTensor.ofInts(dtype, takeInts(n), shape);
        }
        CpuLending.Piece piece = lending == null ? null : lending.take(dtype, shape, until, region);
        if (piece != null) {
            lent.add(piece);
            return piece.tensor();
        }
        return CpuTensor.ofFloats(dtype, takeFloats(n), shape);
    }

    private float[] takeFloats(int n) {
        if (!pooled) {
            return new float[n];
        }
        float[] array = pool.takeFloats(n);
        floats.add(array);
        return array;
    }

    private int[] takeInts(int n) {
        if (!pooled) {
            return new int[n];
        }
        int[] array = pool.takeInts(n);
        ints.add(array);
        return array;
    }
}
