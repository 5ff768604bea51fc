package io.fourfold.kernels.cuda;

import java.nio.ByteBuffer;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import jcuda.driver.CUcontext;
import jcuda.driver.CUdevice;
import jcuda.driver.CUresult;
import jcuda.driver.JCudaDriver;
import org.bytedeco.cuda.cudart.CUipcMemHandle_v1;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.javacpp.BytePointer;

/**
 * Device memory of other ranks on this host, for the copy engines of this rank's GPU. Threads of one process see each other's
 * addresses once their GPUs have access to each other; a process opens another one's allocations by CUDA's handles, each at
 * its first use.
 */
final class PeerMemory implements AutoCloseable {
    /**
     * A place in an allocation.
     *
     * @param base the allocation's address in its owner's process
     * @param handle by which other processes open it; zeros within one process
     */
    record Place(long base, long offset, byte[] handle) {
        /** Integers that tell of the allocation. */
        static final int WORDS = 2 + PeerBoard.HANDLE_BYTES / 4;

        /** The allocation, as integers. */
        int[] words() {
            int[] words = new int[WORDS];
            ByteBuffer.allocate(4 * WORDS)
                    .putLong(base)
                    .put(handle)
                    .flip()
                    .asIntBuffer()
                    .get(words);
            return words;
        }

        /** The first byte of the allocation of which {@code words} tells, beginning with number {@code at}. */
        static Place of(int[] words, int at) {
            ByteBuffer bytes = ByteBuffer.allocate(4 * WORDS);
            bytes.asIntBuffer().put(words, at, WORDS);
            long base = bytes.getLong();
            byte[] handle = new byte[PeerBoard.HANDLE_BYTES];
            bytes.get(handle);
            return new Place(base, 0, handle);
        }
    }

    private record Allocation(int rank, long base) {}

    private final CudaDevice device;
    private final CudaArena arena;
    private final boolean oneProcess;
    private final Map<Long, byte[]> handles = new HashMap<>();
    private final Map<Allocation, Long> opened = new HashMap<>();

    /** @param oneProcess whether all ranks are threads of this process */
    PeerMemory(CudaDevice device, CudaArena arena, boolean oneProcess) {
        this.device = device;
        this.arena = arena;
        this.oneProcess = oneProcess;
    }

    boolean oneProcess() {
        return oneProcess;
    }

    /** Gives this GPU access to others of the process. */
    void access(List<Integer> ordinals) {
        for (int ordinal : ordinals) {
            if (ordinal != device.ordinal()) {
                CUdevice peer = new CUdevice();
                CUcontext context = new CUcontext();
                CudaDevice.check(JCudaDriver.cuDeviceGet(peer, ordinal), "cuDeviceGet(" + ordinal + ")");
                CudaDevice.check(JCudaDriver.cuDevicePrimaryCtxRetain(context, peer), "the context of GPU " + ordinal);
                try {
                    int result = JCudaDriver.cuCtxEnablePeerAccess(context, 0);
                    if (result != CUresult.CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED) {
                        CudaDevice.check(result, "access to GPU " + ordinal);
                    }
                } finally {
                    CudaDevice.check(JCudaDriver.cuDevicePrimaryCtxRelease(peer), "cuDevicePrimaryCtxRelease");
                }
            }
        }
    }

    /** Where an address of this rank's arena is, for others. */
    Place place(long address) {
        long base = arena.slab(address).base().address();
        byte[] handle = oneProcess ? new byte[PeerBoard.HANDLE_BYTES] : handles.computeIfAbsent(base, this::handle);
        return new Place(base, address - base, handle);
    }

    /** A place that stays. */
    Place anyPlace() {
        return place(arena.anySlab().base().address());
    }

    private byte[] handle(long base) {
        try (CUipcMemHandle_v1 handle = new CUipcMemHandle_v1()) {
            CudaDevice.check(cudart.cuIpcGetMemHandle(handle, base), "cuIpcGetMemHandle");
            byte[] bytes = new byte[PeerBoard.HANDLE_BYTES];
            new BytePointer(handle).capacity(bytes.length).get(bytes);
            return bytes;
        }
    }

    /** The address, in this process, of another rank's place. */
    long open(int worldRank, Place place) {
        if (oneProcess) {
            return place.base() + place.offset();
        }
        Allocation allocation = new Allocation(worldRank, place.base());
        return opened.computeIfAbsent(allocation, a -> map(place.handle())) + place.offset();
    }

    private static long map(byte[] bytes) {
        try (CUipcMemHandle_v1 handle = new CUipcMemHandle_v1()) {
            new BytePointer(handle).capacity(bytes.length).put(bytes);
            long[] address = new long[1];
            CudaDevice.check(
                    cudart.cuIpcOpenMemHandle(address, handle, cudart.CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS),
                    "opening another process's GPU memory");
            return address[0];
        }
    }

    /** No copy is under way. */
    @Override
    public void close() {
        for (long address : opened.values()) {
            CudaDevice.check(cudart.cuIpcCloseMemHandle(address), "cuIpcCloseMemHandle");
        }
        opened.clear();
    }
}
