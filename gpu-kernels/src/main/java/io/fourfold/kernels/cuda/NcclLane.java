package io.fourfold.kernels.cuda;

import io.fourfold.kernels.comm.Pending;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Shape;
import java.util.ArrayDeque;
import java.util.Deque;
import jcuda.driver.CUevent;
import org.jspecify.annotations.Nullable;

/**
 * A stream on which operations run beside the device's own: one for all groups of a rank and a {@link NcclSide}, so that what
 * is started there runs in the order in which it is started. Memory of a collective under way is kept until the device's stream has waited for it,
 * for the arena reuses memory in the order of that stream.
 */
final class NcclLane {
    private record Sent(CudaEvent done, CudaTensorScope memory) {}

    private final CudaDevice device;
    private final CudaMemory memory;
    private final CudaStream stream = CudaStream.urgent();
    private final CudaEvent ready = new CudaEvent();
    private final Deque<CudaEvent> spare = new ArrayDeque<>();
    private final Deque<Sent> sent = new ArrayDeque<>();
    private @Nullable CudaTensorScope scratch;
    private long scratchAddress;
    private long scratchBytes;

    NcclLane(CudaDevice device, CudaMemory memory) {
        this.device = device;
        this.memory = memory;
    }

    CudaStream stream() {
        return stream;
    }

    /** What is queued here from now on waits for what the device's stream has now. */
    void follow() {
        ready.record(device.stream());
        stream.await(ready);
    }

    /** Memory for one operation at a time: the next one has the same, in the order of this stream. */
    CudaTensor scratch(DType type, long elements) {
        long bytes = elements * type.bytes();
        if (bytes > scratchBytes) {
            if (scratch != null) {
                keep(scratch);
            }
            scratch = memory.ownScope(Region.WORKSPACE);
            scratchBytes = bytes;
            scratchAddress = scratch.allocate(type, Shape.flat(elements)).address();
            follow();
        }
        return new CudaTensor(type, Shape.flat(elements), scratchAddress);
    }

    /**
     * What was queued since {@link #follow}, as something to wait for.
     *
     * @param then runs with the wait
     */
    Pending pending(String what, Runnable then) {
        CudaEvent done = mark();
        return Pending.once(() -> {
            then.run();
            CUevent begun = device.trace().begin();
            device.stream().await(done);
            device.trace().end(begun, "wait for " + what);
            spare.push(done);
        });
    }

    /** Releases memory when what was queued so far is done, without anybody waiting for it. */
    void keep(CudaTensorScope memory) {
        releasePassed();
        sent.add(new Sent(mark(), memory));
    }

    private void releasePassed() {
        while (!sent.isEmpty() && sent.getFirst().done().passed()) {
            Sent first = sent.removeFirst();
            first.memory().close();
            spare.push(first.done());
        }
    }

    private CudaEvent mark() {
        CudaEvent event = spare.isEmpty() ? new CudaEvent() : spare.pop();
        event.record(stream);
        return event;
    }

    /**
     * @param whole false when work was aborted, whose errors are known
     */
    void close(boolean whole) {
        if (whole) {
            stream.synchronize();
            releasePassed();
            if (scratch != null) {
                scratch.close();
            }
        }
        spare.forEach(CudaEvent::close);
        ready.close();
        stream.close();
    }
}
