package io.fourfold.kernels.cuda;

import io.fourfold.kernels.tensor.Region;

/**
 * What every operation of the CUDA backend needs. Temporary memory: open a {@link Region#WORKSPACE} scope and close it
 * after the launches that use it.
 */
public record CudaRuntime(CudaDevice device, CudaMemory memory, CudaKernels kernels) {

    public CudaTensorScope workspace() {
        return memory.scope(Region.WORKSPACE);
    }

    /** A kernel; see {@link CudaKernels#function}. */
    public CudaFunction function(String file, String kernel) {
        return kernels.function(file, kernel);
    }
}
