package io.fourfold.kernels.cuda;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import jcuda.Pointer;
import jcuda.driver.JCudaDriver;

/**
 * Pinned host memory from which small uploads leave without the host waiting: each takes the next piece, and only when the
 * ring is used up does the host wait for the copies so far. Batches are far smaller than the ring, so a training step waits
 * for none.
 */
final class UploadRing implements AutoCloseable {
    private static final int BYTES = 16 << 20;
    /** Larger uploads are not for the ring. */
    static final int LARGEST = 4 << 20;

    private static final int ALIGNMENT = 64;

    private final CudaStream stream;
    private final Pointer memory = new Pointer();
    private final ByteBuffer bytes;
    private int next;

    UploadRing(CudaStream stream) {
        this.stream = stream;
        CudaDevice.check(JCudaDriver.cuMemAllocHost(memory, BYTES), "allocating pinned host memory");
        bytes = memory.getByteBuffer(0, BYTES).order(ByteOrder.nativeOrder());
    }

    /** Host memory for an upload of so many bytes; {@link #send} follows. */
    ByteBuffer take(int size) {
        if (next + size > BYTES) {
            stream.synchronize(); // every copy from the ring is done then
            next = 0;
        }
        ByteBuffer piece = bytes.duplicate().order(ByteOrder.nativeOrder());
        piece.position(next).limit(next + size);
        return piece.slice().order(ByteOrder.nativeOrder());
    }

    /** Queues the copy of the piece taken last. */
    void send(DevicePointer to, int size) {
        CudaDevice.check(
                JCudaDriver.cuMemcpyHtoDAsync(to, memory.withByteOffset(next), size, stream.jcuda()),
                "uploading " + size + " bytes");
        next += (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }

    @Override
    public void close() {
        CudaDevice.check(JCudaDriver.cuMemFreeHost(memory), "cuMemFreeHost");
    }
}
