package io.fourfold.kernels.cuda;

import jcuda.driver.CUresult;
import jcuda.driver.CUstream;
import jcuda.driver.CUstream_flags;
import jcuda.driver.JCudaDriver;
import org.bytedeco.cuda.cudart.CUstream_st;

/** An ordered queue of GPU work; the same stream as JCuda and as JavaCPP name it. */
public final class CudaStream implements AutoCloseable {
    private static final class Handle extends CUstream {
        long address() {
            return getNativePointer();
        }
    }

    private final Handle handle = new Handle();
    private final CUstream_st javacpp;

    CudaStream() {
        this(0);
    }

    private CudaStream(int priority) {
        CudaDevice.check(
                JCudaDriver.cuStreamCreateWithPriority(handle, CUstream_flags.CU_STREAM_NON_BLOCKING, priority),
                "cuStreamCreateWithPriority");
        javacpp = Addresses.of(new CUstream_st(), handle.address());
    }

    /** A stream whose work gets free multiprocessors before that of other streams. */
    static CudaStream urgent() {
        int[] greatest = new int[1];
        CudaDevice.check(JCudaDriver.cuCtxGetStreamPriorityRange(new int[1], greatest), "cuCtxGetStreamPriorityRange");
        return new CudaStream(greatest[0]);
    }

    /** Work queued on this stream from now on waits for what {@code event} marks; the host does not. */
    void await(CudaEvent event) {
        CudaDevice.check(JCudaDriver.cuStreamWaitEvent(handle, event.jcuda(), 0), "cuStreamWaitEvent");
    }

    /** Waits until everything queued so far is done; reports errors of earlier kernels. */
    public void synchronize() {
        CudaDevice.check(JCudaDriver.cuStreamSynchronize(handle), "waiting for the GPU");
    }

    /** Whether everything queued so far is done, or has failed. */
    boolean idle() {
        return JCudaDriver.cuStreamQuery(handle) != CUresult.CUDA_ERROR_NOT_READY;
    }

    /** The stream's address, for libraries that take a {@code cudaStream_t}. */
    public long address() {
        return handle.address();
    }

    CUstream jcuda() {
        return handle;
    }

    /** The stream as JavaCPP's CUDA presets name it. */
    public CUstream_st javacpp() {
        return javacpp;
    }

    @Override
    public void close() {
        CudaDevice.check(JCudaDriver.cuStreamDestroy(handle), "cuStreamDestroy");
    }
}
