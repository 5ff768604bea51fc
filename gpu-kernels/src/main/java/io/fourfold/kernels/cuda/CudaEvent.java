package io.fourfold.kernels.cuda;

import jcuda.driver.CUevent;
import jcuda.driver.CUevent_flags;
import jcuda.driver.CUresult;
import jcuda.driver.JCudaDriver;

/** A mark in a stream that other streams, or the host, can wait for. It can be set again; who waited keeps the old place. */
final class CudaEvent implements AutoCloseable {
    private final CUevent handle = new CUevent();

    CudaEvent() {
        CudaDevice.check(JCudaDriver.cuEventCreate(handle, CUevent_flags.CU_EVENT_DISABLE_TIMING), "cuEventCreate");
    }

    /** Marks the end of what is queued on the stream so far. */
    void record(CudaStream stream) {
        CudaDevice.check(JCudaDriver.cuEventRecord(handle, stream.jcuda()), "cuEventRecord");
    }

    /** Whether the GPU has passed the mark. */
    boolean passed() {
        int result = JCudaDriver.cuEventQuery(handle);
        if (result != CUresult.CUDA_ERROR_NOT_READY) {
            CudaDevice.check(result, "cuEventQuery");
        }
        return result == CUresult.CUDA_SUCCESS;
    }

    CUevent jcuda() {
        return handle;
    }

    @Override
    public void close() {
        CudaDevice.check(JCudaDriver.cuEventDestroy(handle), "cuEventDestroy");
    }
}
