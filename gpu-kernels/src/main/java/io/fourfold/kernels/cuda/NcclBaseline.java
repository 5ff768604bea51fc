package io.fourfold.kernels.cuda;

import io.fourfold.kernels.comm.CommunicationWorld;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.cpu.CpuTensor;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import java.util.stream.IntStream;
import org.bytedeco.cuda.global.nccl;
import org.bytedeco.cuda.nccl.ncclComm;

/**
 * NCCL's own collectives on this backend's tensors and stream, without anything of this project between: what benchmarks
 * measure our collectives against. BF16 sums round at every rank here.
 */
public final class NcclBaseline implements AutoCloseable {
    private final CudaBackend backend;
    private final ncclComm communicator;
    private final int size;

    /**
     * Collective.
     *
     * @param host a world of all ranks, which carries NCCL's id
     */
    public NcclBaseline(CudaBackend backend, CommunicationWorld host) {
        this.backend = backend;
        size = host.size();
        Communicator all =
                host.group("baseline", IntStream.range(0, size).boxed().toList());
        CpuTensor id =
                CpuTensor.ofInts(host.rank() == 0 ? Nccl.newId() : new int[Nccl.ID_INTS], Shape.of(Nccl.ID_INTS));
        all.broadcast(id, 0);
        communicator = Nccl.join(id.ints(), size, host.rank(), false);
    }

    /** Equal parts of {@code send} to every rank, its own part included. */
    public void allToAll(Tensor send, Tensor receive) {
        CudaTensor from = CudaTensor.of(send);
        CudaTensor to = CudaTensor.of(receive);
        long part = from.elements() / size;
        Nccl.check(nccl.ncclGroupStart(), "ncclGroupStart");
        for (int peer = 0; peer < size; peer++) {
            Nccl.send(communicator, stream(), from, peer * part, part, peer);
            Nccl.receive(communicator, stream(), to, peer * part, part, peer);
        }
        Nccl.check(nccl.ncclGroupEnd(), "ncclGroupEnd");
    }

    public void reduceScatter(Tensor send, Tensor receive) {
        CudaTensor from = CudaTensor.of(send);
        CudaTensor to = CudaTensor.of(receive);
        Nccl.check(
                nccl.ncclReduceScatter(
                        Nccl.pointer(from, 0),
                        Nccl.pointer(to, 0),
                        to.elements(),
                        Nccl.type(to.dtype()),
                        nccl.ncclSum,
                        communicator,
                        stream().javacpp()),
                "ncclReduceScatter");
    }

    public void allGather(Tensor send, Tensor receive) {
        CudaTensor from = CudaTensor.of(send);
        CudaTensor to = CudaTensor.of(receive);
        Nccl.check(
                nccl.ncclAllGather(
                        Nccl.pointer(from, 0),
                        Nccl.pointer(to, 0),
                        from.elements(),
                        Nccl.type(to.dtype()),
                        communicator,
                        stream().javacpp()),
                "ncclAllGather");
    }

    /** In place. */
    public void allReduce(Tensor values) {
        CudaTensor data = CudaTensor.of(values);
        Nccl.check(
                nccl.ncclAllReduce(
                        Nccl.pointer(data, 0),
                        Nccl.pointer(data, 0),
                        data.elements(),
                        Nccl.type(data.dtype()),
                        nccl.ncclSum,
                        communicator,
                        stream().javacpp()),
                "ncclAllReduce");
    }

    private CudaStream stream() {
        return backend.runtime().device().stream();
    }

    @Override
    public void close() {
        stream().synchronize();
        Nccl.check(nccl.ncclCommDestroy(communicator), "ncclCommDestroy");
    }
}
