package io.fourfold.kernels.cuda;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import jcuda.driver.CUevent;
import org.bytedeco.cuda.cudart.CUDA_KERNEL_NODE_PARAMS_v2;
import org.bytedeco.cuda.cudart.CUgraphExec_st;
import org.bytedeco.cuda.cudart.CUgraphNode_st;
import org.bytedeco.cuda.cudart.CUgraph_st;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerPointer;
import org.bytedeco.javacpp.SizeTPointer;
import org.jspecify.annotations.Nullable;

/**
 * Recorded work that is queued by one call. Launches whose arguments hold numbers of the time are given new arguments before;
 * that does not touch a run that is queued already.
 */
final class CudaGraph implements AutoCloseable {
    private static final int ALIGNMENT = 64;
    private static final @Nullable CUgraphNode_st NO_NODES = null;

    /** A launch whose arguments change. */
    private static final class Update implements AutoCloseable {
        private final CUgraphNode_st node;
        private final BytePointer memory;
        private final PointerPointer<Pointer> table;
        private final CUDA_KERNEL_NODE_PARAMS_v2 parameters = new CUDA_KERNEL_NODE_PARAMS_v2();
        private final ByteBuffer values;
        private final List<RecordedLaunch.Slot> slots;
        private final String name;

        Update(RecordedLaunch launch, List<RecordedLaunch.Slot> slots) {
            this.slots = List.copyOf(slots);
            name = launch.function().name();
            node = Addresses.of(new CUgraphNode_st(), launch.node());
            memory = new BytePointer(launch.arguments().length + (long) ALIGNMENT);
            long start = (memory.address() + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
            int skipped = (int) (start - memory.address());
            values = memory.asByteBuffer()
                    .position(skipped)
                    .slice()
                    .order(ByteOrder.nativeOrder())
                    .put(0, launch.arguments());
            table = new PointerPointer<>(launch.starts().length);
            for (int i = 0; i < launch.starts().length; i++) {
                table.put(i, Addresses.of(start + launch.starts()[i]));
            }
            parameters
                    .func(launch.function().javacpp())
                    .gridDimX(launch.grid().get(0))
                    .gridDimY(launch.grid().get(1))
                    .gridDimZ(launch.grid().get(2))
                    .blockDimX(launch.block())
                    .blockDimY(1)
                    .blockDimZ(1)
                    .sharedMemBytes(launch.sharedBytes())
                    .kernelParams(table);
        }

        void apply(CUgraphExec_st graph, int[] numbers) {
            for (RecordedLaunch.Slot slot : slots) {
                values.putInt(slot.at(), numbers[slot.number()]);
            }
            CudaDevice.check(
                    cudart.cuGraphExecKernelNodeSetParams(graph, node, parameters),
                    "changing the arguments of " + name);
        }

        @Override
        public void close() {
            memory.close();
            table.close();
            parameters.close();
        }
    }

    private final CudaDevice device;
    private final CUgraph_st graph;
    private final CUgraphExec_st executable = new CUgraphExec_st();
    private final List<Update> updates = new ArrayList<>();
    private final int launches;
    private int[] numbers;

    /**
     * @param graph which is destroyed with this
     * @param slots for each launch where its numbers are
     * @param numbers with which it was recorded
     */
    CudaGraph(
            CudaDevice device,
            CUgraph_st graph,
            List<RecordedLaunch> launches,
            List<List<RecordedLaunch.Slot>> slots,
            int[] numbers) {
        this.device = device;
        this.graph = graph;
        this.launches = launches.size();
        this.numbers = numbers.clone();
        CudaDevice.check(
                cudart.cuGraphInstantiate(executable, graph, 0), "making a graph of " + launches.size() + " launches");
        // Takes the memory that a launch needs now, when there is another way still.
        int uploaded = cudart.cuGraphUpload(executable, device.stream().javacpp());
        if (uploaded != 0) {
            CudaDevice.check(cudart.cuGraphExecDestroy(executable), "cuGraphExecDestroy");
            CudaDevice.check(uploaded, "uploading a graph of " + launches.size() + " launches");
        }
        for (int i = 0; i < slots.size(); i++) {
            if (!slots.get(i).isEmpty()) {
                updates.add(new Update(launches.get(i), slots.get(i)));
            }
        }
    }

    /** Launches of the project's own kernels. */
    int launches() {
        return launches;
    }

    /** Everything in the graph. */
    long nodes() {
        try (SizeTPointer count = new SizeTPointer(1)) {
            CudaDevice.check(cudart.cuGraphGetNodes(graph, NO_NODES, count), "counting the nodes of a graph");
            return count.get();
        }
    }

    /** Of these, the launches that are given new arguments. */
    int changing() {
        return updates.size();
    }

    /** Queues it. */
    void launch(int[] now) {
        if (!Arrays.equals(numbers, now)) {
            updates.forEach(update -> update.apply(executable, now));
            numbers = now.clone();
        }
        CUevent begun = device.trace().begin();
        CudaDevice.check(cudart.cuGraphLaunch(executable, device.stream().javacpp()), "launching a graph");
        device.trace().end(begun, "graph");
    }

    /** A run that is queued still ends. */
    @Override
    public void close() {
        CudaDevice.check(cudart.cuGraphExecDestroy(executable), "cuGraphExecDestroy");
        CudaDevice.check(cudart.cuGraphDestroy(graph), "cuGraphDestroy");
        updates.forEach(Update::close);
        updates.clear();
    }
}
