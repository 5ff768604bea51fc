package io.fourfold.kernels.cuda;

import io.fourfold.kernels.op.QuantStats;
import io.fourfold.kernels.tensor.DType;

/** The sums that quantizing kernels gather for telemetry, see {@code quantize/measure.cuh}. */
final class QuantSums {
    private static final int SUMS = 7;

    private QuantSums() {}

    /** Room for the sums, FP64 as pairs of words, all zero. */
    static CudaTensor zeros(CudaTensorScope work) {
        return work.zeros(DType.INT32, SUMS * 2);
    }

    /**
     * Waits for the GPU.
     *
     * @param amax FP32 [groups], the largest magnitude of each group
     * @param extraBlocks blocks that the kernel has not counted
     */
    static QuantStats read(CudaMemory memory, CudaTensor sums, CudaTensor amax, int extraBlocks) {
        int[] words = memory.downloadInts(sums);
        double[] values = new double[SUMS];
        for (int i = 0; i < SUMS; i++) {
            values[i] = Double.longBitsToDouble((words[2 * i] & 0xFFFF_FFFFL) | ((long) words[2 * i + 1] << 32));
        }
        float largest = 0;
        for (float value : memory.download(amax)) {
            largest = Math.max(largest, value);
        }
        return new QuantStats(
                (long) values[0],
                (long) values[1],
                (long) values[2],
                (long) values[3] + extraBlocks,
                (long) values[4],
                largest,
                values[5],
                values[6]);
    }
}
