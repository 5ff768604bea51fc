package io.fourfold.kernels.cuda;

import java.io.IOException;
import java.io.InputStream;
import java.util.HashMap;
import java.util.Map;
import jcuda.driver.CUmodule;
import jcuda.driver.CUresult;
import jcuda.driver.JCudaDriver;

/**
 * The project's own kernels: each file {@code name.cu} becomes the resource {@code name.fatbin} of the jar, loaded at its
 * first use. Functions are kept, so asking again is a map lookup; hot paths keep the {@link CudaFunction} in a field.
 */
public final class CudaKernels implements AutoCloseable {
    private final CudaDevice device;
    private final LaunchArguments arguments = new LaunchArguments();
    private final Map<String, CUmodule> modules = new HashMap<>();
    private final Map<String, CudaFunction> functions = new HashMap<>();

    CudaKernels(CudaDevice device) {
        this.device = device;
    }

    /**
     * A kernel.
     *
     * @param file name of the source file without {@code .cu}
     * @param kernel its {@code extern "C"} name
     */
    public CudaFunction function(String file, String kernel) {
        return functions.computeIfAbsent(
                file + ':' + kernel, key -> new CudaFunction(kernel, device, module(file), arguments));
    }

    @Override
    public void close() {
        for (CUmodule module : modules.values()) {
            CudaDevice.check(JCudaDriver.cuModuleUnload(module), "cuModuleUnload");
        }
        modules.clear();
        functions.clear();
        arguments.close();
    }

    private CUmodule module(String file) {
        return modules.computeIfAbsent(file, this::load);
    }

    private CUmodule load(String file) {
        String resource = "/io/fourfold/kernels/cuda/" + file + ".fatbin";
        byte[] image;
        try (InputStream in = CudaKernels.class.getResourceAsStream(resource)) {
            if (in == null) {
                throw new CudaException("The jar holds no " + resource + ": it was built without nvcc, so for the CPU"
                        + " only. Rebuild with the CUDA toolkit's nvcc on the PATH.");
            }
            image = in.readAllBytes();
        } catch (IOException e) {
            throw new CudaException("reading " + resource, e);
        }
        CUmodule module = new CUmodule();
        int result = JCudaDriver.cuModuleLoadData(module, image);
        if (result == CUresult.CUDA_ERROR_NO_BINARY_FOR_GPU) {
            throw new CudaException(file + ".cu was built for other GPUs than " + device
                    + ". Rebuild with scripts/build-kernels after adding this architecture.");
        }
        CudaDevice.check(result, "loading " + resource);
        return module;
    }
}
