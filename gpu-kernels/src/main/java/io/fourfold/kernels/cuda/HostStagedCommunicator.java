package io.fourfold.kernels.cuda;

import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.comm.ReduceOp;
import io.fourfold.kernels.cpu.CpuTensor;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import java.util.function.BiConsumer;
import java.util.function.Consumer;

/** Collectives on device tensors by way of a host group; see {@link HostStagedWorld}. */
final class HostStagedCommunicator implements Communicator {
    private final CudaMemory memory;
    private final Communicator host;

    HostStagedCommunicator(CudaMemory memory, Communicator host) {
        this.memory = memory;
        this.host = host;
    }

    @Override
    public String name() {
        return host.name();
    }

    @Override
    public int rank() {
        return host.rank();
    }

    @Override
    public int size() {
        return host.size();
    }

    @Override
    public void allReduce(Tensor values, ReduceOp op) {
        inPlace(values, staged -> host.allReduce(staged, op));
    }

    @Override
    public void reduceScatter(Tensor send, Tensor receive, ReduceOp op) {
        exchange(send, receive, (from, to) -> host.reduceScatter(from, to, op));
    }

    @Override
    public void reduceScatterV(Tensor send, Tensor receive, long[] counts, ReduceOp op) {
        exchange(send, receive, (from, to) -> host.reduceScatterV(from, to, counts, op));
    }

    @Override
    public void allGather(Tensor send, Tensor receive) {
        exchange(send, receive, host::allGather);
    }

    @Override
    public void allGatherV(Tensor send, Tensor receive, long[] counts) {
        exchange(send, receive, (from, to) -> host.allGatherV(from, to, counts));
    }

    @Override
    public void allToAllV(Tensor send, long[] sendCounts, Tensor receive, long[] receiveCounts) {
        exchange(send, receive, (from, to) -> host.allToAllV(from, sendCounts, to, receiveCounts));
    }

    @Override
    public void broadcast(Tensor values, int root) {
        inPlace(values, staged -> host.broadcast(staged, root));
    }

    @Override
    public void send(Tensor values, int peer) {
        host.send(download(CudaTensor.of(values)), peer);
    }

    @Override
    public void receive(Tensor values, int peer) {
        CpuTensor staged = empty(CudaTensor.of(values));
        host.receive(staged, peer);
        upload(staged, CudaTensor.of(values));
    }

    @Override
    public void barrier() {
        host.barrier();
    }

    @Override
    public long bytesSent() {
        return host.bytesSent();
    }

    @Override
    public void close() {
        host.close();
    }

    private void inPlace(Tensor values, Consumer<CpuTensor> collective) {
        if (size() == 1) {
            return;
        }
        CudaTensor device = CudaTensor.of(values);
        CpuTensor staged = download(device);
        collective.accept(staged);
        upload(staged, device);
    }

    private void exchange(Tensor send, Tensor receive, BiConsumer<CpuTensor, CpuTensor> collective) {
        CudaTensor from = CudaTensor.of(send);
        CudaTensor to = CudaTensor.of(receive);
        if (size() == 1 && from.elements() == to.elements() && from.dtype() == to.dtype()) {
            if (from.address() != to.address()) {
                memory.copy(from, to);
            }
            return;
        }
        CpuTensor staged = download(to); // what the collective leaves out stays as it is
        collective.accept(download(from), staged);
        upload(staged, to);
    }

    private CpuTensor download(CudaTensor tensor) {
        return tensor.dtype() == DType.INT32
                ? CpuTensor.ofInts(memory.downloadInts(tensor), tensor.shape())
                : CpuTensor.ofFloats(tensor.dtype(), memory.download(tensor), tensor.shape());
    }

    private static CpuTensor empty(CudaTensor tensor) {
        int n = Math.toIntExact(tensor.elements());
        return tensor.dtype() == DType.INT32
                ? CpuTensor.ofInts(new int[n], tensor.shape())
                : CpuTensor.ofFloats(tensor.dtype(), new float[n], tensor.shape());
    }

    private void upload(CpuTensor staged, CudaTensor device) {
        if (device.dtype() == DType.INT32) {
            memory.upload(staged.ints(), device);
        } else {
            memory.upload(staged.floats(), device);
        }
    }
}
