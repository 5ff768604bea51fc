package io.fourfold.model;

import io.fourfold.data.Batch;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;

/** A {@link Batch} on the device; every tensor is INT32 [T] with T = samples * sequenceLength. */
record DeviceBatch(
        int samples,
        int sequenceLength,
        Tensor tokens,
        Tensor labels,
        Tensor documentStart,
        Tensor positions,
        Tensor rowIds) {

    static DeviceBatch upload(Batch batch, Backend backend, TensorScope scope) {
        return new DeviceBatch(
                batch.samples(),
                batch.sequenceLength(),
                upload(batch.tokens(), backend, scope),
                upload(batch.labels(), backend, scope),
                upload(batch.documentStart(), backend, scope),
                upload(batch.positions(), backend, scope),
                upload(batch.rowIds(), backend, scope));
    }

    private static Tensor upload(int[] values, Backend backend, TensorScope scope) {
        Tensor tensor = scope.allocate(DType.INT32, values.length);
        backend.upload(values, tensor);
        return tensor;
    }

    int tokenCount() {
        return samples * sequenceLength;
    }
}
