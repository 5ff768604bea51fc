package io.fourfold.kernels.cuda;

import java.util.Arrays;
import java.util.List;
import jcuda.driver.CUdeviceptr;
import jcuda.driver.CUevent;
import jcuda.driver.CUfunction;
import jcuda.driver.CUfunction_attribute;
import jcuda.driver.CUmodule;
import jcuda.driver.JCudaDriver;
import org.bytedeco.cuda.cudart.CUfunc_st;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerPointer;
import org.jspecify.annotations.Nullable;

/**
 * One kernel. Arguments are given in the order of its parameters: a {@link CudaTensor} or a {@link Long} for a pointer,
 * {@link #NULL} for a null pointer, Integer, Long, Float or Double for a scalar of that C type ({@code int}, 64 bits,
 * {@code float}, {@code double}; unsigned alike), {@code int[]} for a struct of ints, {@link TensorMap} for a {@code __grid_constant__ CUtensorMap}. Nothing
 * checks them against the kernel's signature. Launches return at once.
 */
public final class CudaFunction {
    /** A null pointer as a kernel argument. */
    public static final Object NULL = new Object() {
        @Override
        public String toString() {
            return "null";
        }
    };

    private static final boolean SYNCHRONOUS = Boolean.getBoolean("fourfold.cuda.sync");
    private static final @Nullable PointerPointer<Pointer> NO_EXTRA = null;
    /** What a launch may ask for without raising the kernel's limit: 48 KiB less what the kernel declares itself. */
    private static final int UNRAISED_SHARED = 16 << 10;

    private static final class Handle extends CUfunction {
        long address() {
            return getNativePointer();
        }
    }

    private final String name;
    private final CudaDevice device;
    private final CUmodule module;
    private final LaunchArguments arguments;
    private final Handle handle = new Handle();
    private final CUfunc_st javacpp;
    private int sharedLimit = UNRAISED_SHARED;

    CudaFunction(String name, CudaDevice device, CUmodule module, LaunchArguments arguments) {
        this.name = name;
        this.device = device;
        this.module = module;
        this.arguments = arguments;
        CudaDevice.check(JCudaDriver.cuModuleGetFunction(handle, module, name), "finding the kernel " + name);
        javacpp = Addresses.of(new CUfunc_st(), handle.address());
    }

    /** Null as a kernel argument, a tensor as itself. */
    public static Object orNull(@Nullable CudaTensor tensor) {
        return tensor == null ? NULL : tensor;
    }

    /** Launches {@code gridX} blocks of {@code block} threads without dynamic shared memory; none for an empty grid. */
    public void launchLine(int gridX, int block, Object... values) {
        launch(gridX, 1, 1, block, 0, values);
    }

    /** The same on another stream of the device. */
    void launchLineOn(CudaStream stream, int gridX, int block, Object... values) {
        launchOn(stream, gridX, 1, 1, block, 0, values);
    }

    /**
     * Launches on the device's stream; does nothing when the grid is empty.
     *
     * @param block threads per block
     * @param sharedBytes dynamic shared memory; the limit is raised where more than 16 KiB are asked for
     */
    public void launch(int gridX, int gridY, int gridZ, int block, int sharedBytes, Object... values) {
        launchOn(device.stream(), gridX, gridY, gridZ, block, sharedBytes, values);
    }

    private void launchOn(
            CudaStream stream, int gridX, int gridY, int gridZ, int block, int sharedBytes, Object... values) {
        if (gridX == 0 || gridY == 0 || gridZ == 0) {
            return;
        }
        if (stream != device.stream()) {
            device.requireNotRecording(name + " on another stream");
        }
        if (sharedBytes > sharedLimit) {
            raiseSharedLimit(sharedBytes);
        }
        CUevent begun = device.trace().begin(stream);
        int result = cudart.cuLaunchKernel(
                javacpp,
                gridX,
                gridY,
                gridZ,
                block,
                1,
                1,
                sharedBytes,
                stream.javacpp(),
                arguments.write(values),
                NO_EXTRA);
        device.trace().end(begun, name, stream);
        GraphRecorder recorder = device.recorder();
        if (recorder != null && result == 0) {
            recorder.launched(this, List.of(gridX, gridY, gridZ), block, sharedBytes, values);
        }
        if (result != 0 || SYNCHRONOUS) {
            check(stream, result, gridX, gridY, gridZ, block, sharedBytes, values);
        }
    }

    /** Value of an {@code extern "C" __constant__ int} of the kernel's file; waits for the GPU. */
    public int constant(String constantName) {
        CUdeviceptr address = new CUdeviceptr();
        CudaDevice.check(
                JCudaDriver.cuModuleGetGlobal(address, new long[1], module, constantName),
                "finding the constant " + constantName);
        int[] value = new int[1];
        CudaDevice.check(JCudaDriver.cuMemcpyDtoH(jcuda.Pointer.to(value), address, 4), "reading " + constantName);
        return value[0];
    }

    public String name() {
        return name;
    }

    CUfunc_st javacpp() {
        return javacpp;
    }

    private void check(
            CudaStream stream,
            int result,
            int gridX,
            int gridY,
            int gridZ,
            int block,
            int sharedBytes,
            Object[] values) {
        String what = String.format(
                "launching %s<<<(%d, %d, %d), %d, %d bytes>>>%s",
                name, gridX, gridY, gridZ, block, sharedBytes, Arrays.toString(values));
        CudaDevice.check(result, what);
        CudaDevice.check(JCudaDriver.cuStreamSynchronize(stream.jcuda()), what);
    }

    private void raiseSharedLimit(int bytes) {
        CudaDevice.check(
                JCudaDriver.cuFuncSetAttribute(
                        handle, CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, bytes),
                name + " asking for " + bytes + " bytes of shared memory");
        sharedLimit = bytes;
    }
}
