package io.fourfold.kernels.cuda;

import jcuda.driver.CUresult;
import jcuda.driver.JCudaDriver;
import org.jspecify.annotations.Nullable;

/**
 * One allocation of device memory, of whole pages: smaller ones may share a page, and other processes open memory by the
 * page.
 */
record DeviceSlab(DevicePointer base, long bytes) {
    private static final long PAGE = 2L << 20;

    /**
     * At least so many bytes; null when the device has not enough.
     *
     * @param what for an error's text
     */
    static @Nullable DeviceSlab allocate(long bytes, String what) {
        long size = CudaArena.roundUp(bytes, PAGE);
        DevicePointer base = new DevicePointer();
        int result = JCudaDriver.cuMemAlloc(base, size);
        if (result == CUresult.CUDA_ERROR_OUT_OF_MEMORY) {
            return null;
        }
        CudaDevice.check(result, "allocating " + size + " bytes for " + what);
        return new DeviceSlab(base, size);
    }

    void free() {
        CudaDevice.check(JCudaDriver.cuMemFree(base), "cuMemFree");
    }
}
