package io.fourfold.kernels.cpu;

import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Lending;
import io.fourfold.kernels.tensor.LentMemory;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * Lends parts of float arrays to float tensors, as a GPU lends memory: heap arrays need no such thrift, so this is there to
 * test that a model works with lent memory. Addresses count floats; arrays lie one after the other with a gap between.
 */
final class CpuLending implements Lending {
    private static final long ALIGNMENT = 16;

    private final ArrayPool pool;
    private final Runnable end;
    private final boolean poison;
    private final TreeMap<Long, float[]> arrays = new TreeMap<>();
    private final LentMemory lent;
    private int workspaceUntil;

    /**
     * @param poison overwrite what is lent and what comes back
     * @param end called when the lending ends
     */
    CpuLending(List<Range> ranges, ArrayPool pool, boolean poison, Runnable end) {
        this.pool = pool;
        this.poison = poison;
        this.end = end;
        List<LentMemory.Range> addresses = new ArrayList<>();
        for (Range range : ranges) {
            CpuTensor tensor = CpuTensor.of(range.memory());
            addresses.add(
                    new LentMemory.Range(range.name(), base(tensor.floats()) + tensor.offset(), tensor.elements()));
        }
        lent = new LentMemory(addresses, ALIGNMENT);
        workspaceUntil = lent.never();
    }

    private long base(float[] array) {
        for (Map.Entry<Long, float[]> entry : arrays.entrySet()) {
            if (entry.getValue() == array) {
                return entry.getKey();
            }
        }
        Map.Entry<Long, float[]> last = arrays.lastEntry();
        long next = last == null ? 0 : (last.getKey() + last.getValue().length + 2 * ALIGNMENT) / ALIGNMENT * ALIGNMENT;
        arrays.put(next, array);
        return next;
    }

    /** Memory for a float tensor, or null when nothing fits. */
    @Nullable
    Piece take(DType dtype, Shape shape, int until, Region region) {
        long address = lent.take(shape.elements(), until, region);
        if (address == LentMemory.NONE) {
            return null;
        }
        Map.Entry<Long, float[]> array = arrays.floorEntry(address);
        if (array == null) {
            throw new IllegalStateException("no array at " + address);
        }
        int offset = Math.toIntExact(address - array.getKey());
        Piece piece = new Piece(address, new CpuTensor(dtype, shape, array.getValue(), null, offset));
        poison(piece);
        return piece;
    }

    void release(Piece piece) {
        poison(piece);
        lent.release(piece.address());
    }

    private void poison(Piece piece) {
        if (poison) {
            CpuTensor tensor = piece.tensor();
            Arrays.fill(tensor.floats(), tensor.offset(), tensor.offset() + tensor.size(), Float.NaN);
        }
    }

    /** A tensor in lent memory. */
    record Piece(long address, CpuTensor tensor) {}

    /** Most floats that were lent at a time. */
    long peak() {
        return lent.peak();
    }

    /** A scope without a word about its lifetime. */
    CpuTensorScope scope(Region region) {
        return new CpuTensorScope(region, pool, this, region == Region.WORKSPACE ? workspaceUntil : lent.never());
    }

    @Override
    public TensorScope scope(Region region, int until) {
        return new CpuTensorScope(region, pool, this, until);
    }

    @Override
    public void workspaceUntil(int until) {
        workspaceUntil = until;
    }

    @Override
    public void reclaim(int range) {
        lent.reclaim(range);
    }

    @Override
    public void close() {
        lent.close();
        end.run();
    }
}
