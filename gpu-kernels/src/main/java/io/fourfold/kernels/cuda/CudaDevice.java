package io.fourfold.kernels.cuda;

import java.nio.charset.StandardCharsets;
import jcuda.driver.CUcontext;
import jcuda.driver.CUdevice;
import jcuda.driver.CUdevice_attribute;
import jcuda.driver.CUresult;
import jcuda.driver.JCudaDriver;
import org.jspecify.annotations.Nullable;

/**
 * One GPU of this process: its primary context (shared with cuBLASLt, cuDNN and NCCL), one stream, its properties. The
 * context is current on the thread that opened the device; another thread calls {@link #makeCurrent} first.
 */
public final class CudaDevice implements AutoCloseable {
    private final int ordinal;
    private final CUdevice device = new CUdevice();
    private final CUcontext context = new CUcontext();
    private final CudaStream stream;
    private final CudaTrace trace;
    private @Nullable GraphRecorder recorder;
    private final String name;
    private final int driverVersion;
    private final int multiprocessors;
    private int lent;
    private int borrowers;

    private CudaDevice(int ordinal) {
        this.ordinal = ordinal;
        check(JCudaDriver.cuDeviceGet(device, ordinal), "cuDeviceGet(" + ordinal + ")");
        check(JCudaDriver.cuDevicePrimaryCtxRetain(context, device), "creating the context of GPU " + ordinal);
        check(JCudaDriver.cuCtxSetCurrent(context), "cuCtxSetCurrent");
        stream = new CudaStream();
        trace = new CudaTrace(stream);
        byte[] text = new byte[256];
        check(JCudaDriver.cuDeviceGetName(text, text.length, device), "cuDeviceGetName");
        name = new String(text, StandardCharsets.UTF_8).trim();
        int[] version = new int[1];
        check(JCudaDriver.cuDriverGetVersion(version), "cuDriverGetVersion");
        driverVersion = version[0];
        multiprocessors = attribute(CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
    }

    /** Opens GPU {@code ordinal}; throws a {@link CudaException} that names the fix when there is none. */
    public static CudaDevice open(int ordinal) {
        int count = count();
        if (ordinal < 0 || ordinal >= count) {
            throw new CudaException("GPU " + ordinal + " does not exist, this process sees " + count
                    + " GPU(s). Check CUDA_VISIBLE_DEVICES and the GPUs that Spark assigned to the executor.");
        }
        return new CudaDevice(ordinal);
    }

    /** GPUs this process sees; throws a {@link CudaException} when the driver is missing or broken. */
    public static int count() {
        try {
            JCudaDriver.setExceptionsEnabled(false);
            int result = JCudaDriver.cuInit(0);
            if (result == CUresult.CUDA_ERROR_NO_DEVICE) {
                return 0;
            }
            check(result, "cuInit");
            int[] count = new int[1];
            check(JCudaDriver.cuDeviceGetCount(count), "cuDeviceGetCount");
            return count[0];
        } catch (LinkageError e) {
            throw new CudaException(
                    "The NVIDIA driver library libcuda.so.1 cannot be loaded. Install NVIDIA driver 580 or newer on"
                            + " this node (nvidia-smi must work), or run with run.backend=cpu.",
                    e);
        }
    }

    /** Null when a GPU can be used by this process, otherwise the reason in words. */
    public static @Nullable String unavailableBecause() {
        try {
            return count() > 0 ? null : "the NVIDIA driver reports no GPU";
        } catch (CudaException e) {
            return e.getMessage();
        }
    }

    /** Throws when a driver call failed. */
    static void check(int result, String what) {
        if (result == CUresult.CUDA_SUCCESS) {
            return;
        }
        String hint = switch (result) {
            case CUresult.CUDA_ERROR_ILLEGAL_ADDRESS,
                    CUresult.CUDA_ERROR_LAUNCH_FAILED,
                    CUresult.CUDA_ERROR_MISALIGNED_ADDRESS ->
                " An earlier kernel failed and the GPU context is"
                        + " lost; run with -Dfourfold.cuda.sync=true to have the failing launch named.";
            case CUresult.CUDA_ERROR_NO_BINARY_FOR_GPU ->
                " The jar holds no kernel for this GPU; rebuild with" + " scripts/build-kernels for its architecture.";
            default -> "";
        };
        throw new CudaException(what + " failed: " + CUresult.stringFor(result) + "." + hint);
    }

    public void makeCurrent() {
        check(JCudaDriver.cuCtxSetCurrent(context), "cuCtxSetCurrent");
    }

    public CudaStream stream() {
        return stream;
    }

    /** Off until started. */
    public CudaTrace trace() {
        return trace;
    }

    /** Null unless what is queued on the stream is recorded instead of run. */
    @Nullable
    GraphRecorder recorder() {
        return recorder;
    }

    void recordWith(@Nullable GraphRecorder now) {
        recorder = now;
    }

    /** Refuses what would run once while a graph is recorded, and never again. */
    void requireNotRecording(String what) {
        if (recorder != null) {
            throw new CudaException(what + " cannot be recorded");
        }
    }

    public int ordinal() {
        return ordinal;
    }

    public String name() {
        return name;
    }

    /** CUDA version the driver supports, for example 13000 for 13.0. */
    public int driverVersion() {
        return driverVersion;
    }

    /** Compute capability times ten: 90 for Hopper, 100 for Blackwell. */
    public int architecture() {
        return attribute(CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) * 10
                + attribute(CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
    }

    public int multiprocessors() {
        return multiprocessors;
    }

    /**
     * How many of them a kernel should take that keeps its blocks for as long as it runs: all, but for what is lent to
     * collectives under way. Blocks of a collective that find no free multiprocessor would wait for such a kernel's end.
     */
    int freeMultiprocessors() {
        return Math.max(multiprocessors() / 2, multiprocessors() - lent);
    }

    /** Lends multiprocessors to a collective that is queued on a stream of such: one of them runs at a time. */
    void lendMultiprocessors(int count) {
        lent = Math.max(lent, count);
        borrowers++;
    }

    /** Ends what {@link #lendMultiprocessors} began. */
    void takeMultiprocessorsBack() {
        if (--borrowers == 0) {
            lent = 0;
        }
    }

    public long totalBytes() {
        long[] bytes = new long[1];
        check(JCudaDriver.cuDeviceTotalMem(bytes, device), "cuDeviceTotalMem");
        return bytes[0];
    }

    public long freeBytes() {
        long[] free = new long[1];
        check(JCudaDriver.cuMemGetInfo(free, new long[1]), "cuMemGetInfo");
        return free[0];
    }

    /** A {@link CUdevice_attribute} value. */
    int attribute(int attribute) {
        int[] value = new int[1];
        check(JCudaDriver.cuDeviceGetAttribute(value, attribute, device), "cuDeviceGetAttribute");
        return value[0];
    }

    @Override
    public String toString() {
        return String.format(
                "GPU %d: %s, sm_%d, %d multiprocessors, %.1f GiB, driver CUDA %d.%d",
                ordinal,
                name,
                architecture(),
                multiprocessors(),
                totalBytes() / (double) (1 << 30),
                driverVersion / 1000,
                driverVersion % 1000 / 10);
    }

    @Override
    public void close() {
        trace.close();
        stream.close();
        check(JCudaDriver.cuDevicePrimaryCtxRelease(device), "cuDevicePrimaryCtxRelease");
    }
}
