package io.fourfold.kernels.cuda;

import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import java.util.HashMap;
import java.util.Map;

/** theta^(-2i / headDim) for i below headDim / 2, FP32 on the device; uploaded once for each theta and headDim. */
final class RotaryFrequencies implements AutoCloseable {
    private record Key(double theta, int headDim) {}

    private final CudaRuntime cuda;
    private final CudaTensorScope scope;
    private final Map<Key, CudaTensor> tables = new HashMap<>();

    RotaryFrequencies(CudaRuntime cuda) {
        this.cuda = cuda;
        this.scope = cuda.memory().scope(Region.WORKSPACE);
    }

    CudaTensor of(double theta, int headDim) {
        return tables.computeIfAbsent(new Key(theta, headDim), this::upload);
    }

    @Override
    public void close() {
        scope.close();
    }

    private CudaTensor upload(Key key) {
        float[] values = new float[key.headDim / 2];
        for (int i = 0; i < values.length; i++) {
            values[i] = (float) Math.pow(key.theta, -2.0 * i / key.headDim);
        }
        CudaTensor table = scope.allocate(DType.FP32, values.length);
        cuda.memory().upload(values, table);
        return table;
    }
}
