package io.fourfold.kernels.cuda;

import org.bytedeco.cuda.cudart.CUstreamBatchMemOpParams_v1;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.javacpp.Pointer;

/**
 * Writes and waits of a stream on flags in memory, many in one call. They are done in the order in which they were given; a write
 * comes after all work before it in the stream, visible to every GPU and host.
 */
final class StreamFlags implements AutoCloseable {
    private static final int MOST = 256;

    private final CUstreamBatchMemOpParams_v1 operations = new CUstreamBatchMemOpParams_v1(MOST);
    private int count;

    /** Raises a flag to a number. */
    void write(long flag, int number) {
        next().writeValue_operation(cudart.CU_STREAM_MEM_OP_WRITE_VALUE_32)
                .writeValue_address(flag)
                .writeValue_value(number)
                .writeValue_flags(cudart.CU_STREAM_WRITE_VALUE_DEFAULT);
    }

    /** Waits until a flag has reached a number, by the sign of their difference. */
    void await(long flag, int number) {
        next().waitValue_operation(cudart.CU_STREAM_MEM_OP_WAIT_VALUE_32)
                .waitValue_address(flag)
                .waitValue_value(number)
                .waitValue_flags(cudart.CU_STREAM_WAIT_VALUE_GEQ);
    }

    private CUstreamBatchMemOpParams_v1 next() {
        if (count == MOST) {
            throw new IllegalStateException("more than " + MOST + " flags at a time");
        }
        CUstreamBatchMemOpParams_v1 next = operations.getPointer(count++);
        Pointer.memset(next, 0, next.sizeof());
        return next;
    }

    /** Queues what was given since the last call. */
    void queue(CudaStream stream) {
        if (count > 0) {
            int some = count;
            count = 0;
            CudaDevice.check(cudart.cuStreamBatchMemOp(stream.javacpp(), some, operations, 0), "cuStreamBatchMemOp");
        }
    }

    @Override
    public void close() {
        operations.close();
    }
}
