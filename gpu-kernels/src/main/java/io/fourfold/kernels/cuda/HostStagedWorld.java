package io.fourfold.kernels.cuda;

import io.fourfold.kernels.comm.CommunicationWorld;
import io.fourfold.kernels.comm.Communicator;
import java.util.List;

/**
 * A world whose groups take this backend's tensors and move them through host memory: right for any number of ranks, slow
 * for more than one. A group of one rank copies on the device and waits for nothing.
 */
final class HostStagedWorld implements CommunicationWorld {
    private final CudaMemory memory;
    private final CommunicationWorld host;

    HostStagedWorld(CudaMemory memory, CommunicationWorld host) {
        this.memory = memory;
        this.host = host;
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
    public Communicator group(String name, List<Integer> worldRanks) {
        return new HostStagedCommunicator(memory, host.group(name, worldRanks));
    }

    @Override
    public void abort(String reason) {
        host.abort(reason);
    }

    @Override
    public void close() {
        host.close();
    }
}
