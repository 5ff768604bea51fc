package io.fourfold.kernels.cuda;

import io.fourfold.kernels.numeric.BFloat16;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.List;
import jcuda.Pointer;
import jcuda.driver.CUevent;
import jcuda.driver.JCudaDriver;

/**
 * Fills and copies of device memory on one stream. Small uploads are asynchronous, see {@link UploadRing}; large ones and
 * downloads go through one pinned host buffer and are the only places where the host waits for the GPU.
 */
public final class CudaMemory implements AutoCloseable {
    private static final int STAGING_BYTES = 16 << 20;

    private final CudaDevice device;
    private final CudaArena arena;
    private final Pointer staging = new Pointer();
    private final ByteBuffer buffer;
    private final UploadRing ring;

    CudaMemory(CudaDevice device, CudaArena arena) {
        this.device = device;
        this.arena = arena;
        CudaDevice.check(JCudaDriver.cuMemAllocHost(staging, STAGING_BYTES), "allocating pinned host memory");
        buffer = staging.getByteBuffer(0, STAGING_BYTES).order(ByteOrder.nativeOrder());
        ring = new UploadRing(device.stream());
    }

    public CudaArena arena() {
        return arena;
    }

    /** A new scope of the region. */
    public CudaTensorScope scope(Region region) {
        return new CudaTensorScope(region, this, arena.borrowsUntil(region));
    }

    /** A new scope that borrows nothing and may live as long as it likes. */
    CudaTensorScope ownScope(Region region) {
        return new CudaTensorScope(region, this, Integer.MAX_VALUE);
    }

    /** Asynchronous. */
    public void fillBytes(long address, byte value, long bytes) {
        if (bytes > 0) {
            CUevent begun = device.trace().begin();
            CudaDevice.check(
                    JCudaDriver.cuMemsetD8Async(
                            arena.pointer(address),
                            value,
                            bytes,
                            device.stream().jcuda()),
                    "cuMemsetD8Async");
            device.trace().end(begun, "memset");
        }
    }

    /** Sets every element to zero bits; asynchronous. */
    public void zero(CudaTensor tensor) {
        fillBytes(tensor.address(), (byte) 0, tensor.bytes());
    }

    /** Copies bytes between two tensors of the same size; asynchronous. */
    public void copy(CudaTensor from, CudaTensor to) {
        copyOn(device.stream(), from, to);
    }

    /** The same on another stream of the device. */
    void copyOn(CudaStream stream, CudaTensor from, CudaTensor to) {
        if (from.bytes() != to.bytes()) {
            throw new IllegalArgumentException("copying " + from + " to " + to);
        }
        if (stream != device.stream()) {
            device.requireNotRecording("a copy on another stream");
        }
        if (from.bytes() > 0) {
            CUevent begun = device.trace().begin(stream);
            CudaDevice.check(
                    JCudaDriver.cuMemcpyDtoDAsync(
                            arena.pointer(to.address()), arena.pointer(from.address()), from.bytes(), stream.jcuda()),
                    "cuMemcpyDtoDAsync");
            device.trace().end(begun, "copy", stream);
        }
    }

    void upload(float[] source, CudaTensor to) {
        requireLength(source.length, to);
        device.requireNotRecording("an upload");
        boolean half = to.dtype() == DType.BF16;
        if (source.length > 0 && !half && to.bytes() <= UploadRing.LARGEST) {
            ring.take(source.length * 4).asFloatBuffer().put(source);
            ring.send(arena.pointer(to.address()), source.length * 4);
            return;
        }
        int chunk = STAGING_BYTES / to.dtype().bytes();
        for (int start = 0; start < source.length; start += chunk) {
            int n = Math.min(chunk, source.length - start);
            if (half) {
                for (int i = 0; i < n; i++) {
                    buffer.putShort(i * 2, (short) BFloat16.toBits(source[start + i]));
                }
            } else {
                buffer.asFloatBuffer().put(source, start, n);
            }
            send(to, start, n);
        }
    }

    void upload(int[] source, CudaTensor to) {
        requireLength(source.length, to);
        device.requireNotRecording("an upload");
        boolean half = to.dtype() == DType.INT16;
        if (source.length > 0 && !half && to.bytes() <= UploadRing.LARGEST) {
            ring.take(source.length * 4).asIntBuffer().put(source);
            ring.send(arena.pointer(to.address()), source.length * 4);
            return;
        }
        int chunk = STAGING_BYTES / to.dtype().bytes();
        for (int start = 0; start < source.length; start += chunk) {
            int n = Math.min(chunk, source.length - start);
            if (half) {
                for (int i = 0; i < n; i++) {
                    buffer.putShort(i * 2, (short) source[start + i]);
                }
            } else {
                buffer.asIntBuffer().put(source, start, n);
            }
            send(to, start, n);
        }
    }

    float[] download(CudaTensor from) {
        float[] values = new float[Math.toIntExact(from.elements())];
        download(from, values);
        return values;
    }

    /** Several FP32 tensors; waits once when they fit the staging buffer. */
    List<float[]> download(List<CudaTensor> from) {
        long bytes = from.stream().mapToLong(CudaTensor::bytes).sum();
        if (bytes > STAGING_BYTES || from.stream().anyMatch(tensor -> tensor.dtype() != DType.FP32)) {
            return from.stream().map(this::download).toList();
        }
        device.requireNotRecording("a download");
        long to = 0;
        for (CudaTensor tensor : from) {
            queueReceive(tensor, 0, to, tensor.bytes());
            to += tensor.bytes();
        }
        device.stream().synchronize();
        List<float[]> all = new ArrayList<>();
        FloatBuffer host = buffer.asFloatBuffer();
        for (CudaTensor tensor : from) {
            float[] values = new float[Math.toIntExact(tensor.elements())];
            host.get(values);
            all.add(values);
        }
        return all;
    }

    /** Into the first elements of {@code values}. */
    void download(CudaTensor from, float[] values) {
        int count = Math.toIntExact(from.elements());
        boolean half = from.dtype() == DType.BF16;
        int chunk = STAGING_BYTES / from.dtype().bytes();
        for (int start = 0; start < count; start += chunk) {
            int n = Math.min(chunk, count - start);
            receive(from, start, n);
            if (half) {
                for (int i = 0; i < n; i++) {
                    values[start + i] = BFloat16.fromBits(buffer.getShort(i * 2));
                }
            } else {
                buffer.asFloatBuffer().get(values, start, n);
            }
        }
    }

    int[] downloadInts(CudaTensor from) {
        int[] values = new int[Math.toIntExact(from.elements())];
        int chunk = STAGING_BYTES / from.dtype().bytes();
        for (int start = 0; start < values.length; start += chunk) {
            int n = Math.min(chunk, values.length - start);
            receive(from, start, n);
            if (from.dtype() == DType.INT16) {
                for (int i = 0; i < n; i++) {
                    values[start + i] = buffer.getShort(i * 2);
                }
            } else {
                buffer.asIntBuffer().get(values, start, n);
            }
        }
        return values;
    }

    @Override
    public void close() {
        ring.close();
        CudaDevice.check(JCudaDriver.cuMemFreeHost(staging), "cuMemFreeHost");
    }

    private void send(CudaTensor to, long start, int n) {
        int bytes = to.dtype().bytes();
        CudaDevice.check(
                JCudaDriver.cuMemcpyHtoDAsync(
                        arena.pointer(to.address() + start * bytes),
                        staging,
                        (long) n * bytes,
                        device.stream().jcuda()),
                "uploading " + to);
        device.stream().synchronize(); // the staging buffer is about to be reused
    }

    private void receive(CudaTensor from, long start, int n) {
        device.requireNotRecording("a download");
        int bytes = from.dtype().bytes();
        queueReceive(from, start * bytes, 0, (long) n * bytes);
        device.stream().synchronize();
    }

    private void queueReceive(CudaTensor from, long start, long to, long bytes) {
        if (bytes > 0) {
            CudaDevice.check(
                    JCudaDriver.cuMemcpyDtoHAsync(
                            staging.withByteOffset(to),
                            arena.pointer(from.address() + start),
                            bytes,
                            device.stream().jcuda()),
                    "downloading " + from);
        }
    }

    private static void requireLength(int length, CudaTensor tensor) {
        if (length != tensor.elements()) {
            throw new IllegalArgumentException("uploading " + length + " values into " + tensor);
        }
    }
}
