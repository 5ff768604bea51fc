package io.fourfold.parallel;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;

/**
 * Sums of host doubles over a group, in rank order and FP64, hence the same on every rank and from run to run. Values
 * travel as their 64 bits in two INT32 elements, so nothing is rounded on the way.
 */
public final class FixedOrderSums {
    private FixedOrderSums() {}

    /** Element-wise sum of every rank's {@code values}; all ranks pass the same number. */
    public static double[] sum(Backend backend, Communicator group, double... values) {
        if (group.size() == 1 || values.length == 0) {
            return values.clone();
        }
        int n = values.length;
        int[] bits = new int[2 * n];
        for (int i = 0; i < n; i++) {
            long raw = Double.doubleToRawLongBits(values[i]);
            bits[2 * i] = (int) (raw >>> 32);
            bits[2 * i + 1] = (int) raw;
        }
        int[] all;
        try (TensorScope scope = backend.scope(Region.WORKSPACE)) {
            Tensor send = scope.allocate(DType.INT32, 2 * n);
            Tensor receive = scope.allocate(DType.INT32, 2 * n * group.size());
            backend.upload(bits, send);
            group.allGather(send, receive);
            all = backend.downloadInts(receive);
        }
        double[] sums = new double[n];
        for (int rank = 0; rank < group.size(); rank++) {
            for (int i = 0; i < n; i++) {
                int at = 2 * (rank * n + i);
                sums[i] += Double.longBitsToDouble(((long) all[at] << 32) | (all[at + 1] & 0xffffffffL));
            }
        }
        return sums;
    }
}
