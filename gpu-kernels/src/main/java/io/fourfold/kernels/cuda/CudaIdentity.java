package io.fourfold.kernels.cuda;

import java.nio.ByteBuffer;
import java.util.Locale;
import java.util.Map;
import java.util.UUID;
import jcuda.driver.CUdevice;
import jcuda.driver.CUdevice_attribute;
import jcuda.driver.CUuuid;
import jcuda.driver.JCudaDriver;
import org.bytedeco.cuda.global.cublas;

/**
 * Which GPU an index stands for, and with which software it would be used. Found without a context, so no memory is taken.
 *
 * @param uuid as nvidia-smi prints it, for example {@code GPU-1b2c...}
 * @param versions by name what should be the same for all GPUs of a run
 */
public record CudaIdentity(String uuid, Map<String, String> versions) {
    public CudaIdentity {
        versions = Map.copyOf(versions);
    }

    /**
     * @param ordinal among the GPUs that this process sees; CUDA_VISIBLE_DEVICES has been applied by the driver
     * @throws CudaException when there is no such GPU, or the driver or cuBLASLt cannot be loaded
     */
    public static CudaIdentity of(int ordinal) {
        int count = CudaDevice.count();
        if (ordinal < 0 || ordinal >= count) {
            throw new CudaException("GPU " + ordinal + " does not exist, this process sees " + count
                    + " GPU(s). Check CUDA_VISIBLE_DEVICES and the GPUs that Spark assigned to the executor.");
        }
        CUdevice device = new CUdevice();
        CudaDevice.check(JCudaDriver.cuDeviceGet(device, ordinal), "cuDeviceGet(" + ordinal + ")");
        CUuuid uuid = new CUuuid();
        CudaDevice.check(JCudaDriver.cuDeviceGetUuid(uuid, device), "cuDeviceGetUuid(" + ordinal + ")");
        int[] driver = new int[1];
        CudaDevice.check(JCudaDriver.cuDriverGetVersion(driver), "cuDriverGetVersion");
        return new CudaIdentity(
                text(uuid.bytes),
                Map.of(
                        "CUDA version of the driver", driver[0] / 1000 + "." + driver[0] % 1000 / 10,
                        "cuBLASLt version", cublasLt(),
                        "GPU architecture", "sm_" + architecture(device)));
    }

    private static String cublasLt() {
        try {
            return Long.toString(cublas.cublasLtGetVersion());
        } catch (LinkageError e) {
            throw new CudaException(
                    "cuBLASLt cannot be loaded (" + e.getMessage()
                            + "). Install the CUDA 13 libraries and name their folder in LD_LIBRARY_PATH.",
                    e);
        }
    }

    private static int architecture(CUdevice device) {
        int[] version = new int[1];
        CudaDevice.check(
                JCudaDriver.cuDeviceGetAttribute(
                        version, CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device),
                "cuDeviceGetAttribute");
        int major = version[0];
        CudaDevice.check(
                JCudaDriver.cuDeviceGetAttribute(
                        version, CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device),
                "cuDeviceGetAttribute");
        return 10 * major + version[0];
    }

    static String text(byte[] uuid) {
        ByteBuffer bytes = ByteBuffer.wrap(uuid);
        return "GPU-" + new UUID(bytes.getLong(), bytes.getLong()).toString().toLowerCase(Locale.ROOT);
    }
}
