package io.fourfold.kernels.cpu;

import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.Arrays;

/** A scope that allocates fresh arrays; new tensors are filled with NaN so that reading undefined contents shows. */
public final class HeapScope implements TensorScope {
    private long bytes;

    @Override
    public Region region() {
        return Region.WORKSPACE;
    }

    @Override
    public Tensor allocate(DType dtype, Shape shape) {
        CpuTensor tensor = CpuTensor.of(zeros(dtype, shape));
        if (dtype != DType.INT32) {
            Arrays.fill(tensor.floats(), Float.NaN);
        }
        return tensor;
    }

    @Override
    public Tensor zeros(DType dtype, Shape shape) {
        int size = Math.toIntExact(shape.elements());
        bytes += (long) size * dtype.bytes();
        return dtype == DType.INT32
                ? CpuTensor.ofInts(new int[size], shape)
                : CpuTensor.ofFloats(dtype, new float[size], shape);
    }

    @Override
    public long allocatedBytes() {
        return bytes;
    }

    @Override
    public void close() {}
}
