package io.fourfold.kernels.cuda;

import java.util.ArrayList;
import java.util.List;
import org.bytedeco.cuda.cudart.CUgraph_st;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.javacpp.IntPointer;
import org.bytedeco.javacpp.LongPointer;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerPointer;
import org.bytedeco.javacpp.SizeTPointer;

/**
 * Turns what is queued on the device's stream into a graph instead of running it, and notes the launches of the project's
 * own kernels with their arguments.
 */
final class GraphRecorder implements AutoCloseable {
    private final CudaDevice device;
    private final List<RecordedLaunch> launches = new ArrayList<>();
    private final IntPointer status = new IntPointer(1);
    private final LongPointer id = new LongPointer(1);
    /** Set by the driver to its own list. */
    private final PointerPointer<Pointer> dependencies = new PointerPointer<>(Addresses.of(0));

    private final PointerPointer<Pointer> edges = new PointerPointer<>(1);
    private final SizeTPointer count = new SizeTPointer(1);
    private boolean recording;

    /** Begins. The host may do what it likes meanwhile, other threads too; only this stream is recorded. */
    GraphRecorder(CudaDevice device) {
        this.device = device;
        CudaDevice.check(
                cudart.cuStreamBeginCapture(device.stream().javacpp(), cudart.CU_STREAM_CAPTURE_MODE_RELAXED),
                "beginning to record a graph");
        recording = true;
        device.recordWith(this);
    }

    /** What was launched so far. */
    List<RecordedLaunch> launches() {
        return launches;
    }

    /** Notes a launch that was just queued. */
    void launched(CudaFunction function, List<Integer> grid, int block, int sharedBytes, Object[] values) {
        launches.add(RecordedLaunch.of(function, grid, block, sharedBytes, values, lastNode()));
    }

    /** The node that what is queued next would wait for: one stream, so the last one queued. */
    private long lastNode() {
        CudaDevice.check(
                cudart.cuStreamGetCaptureInfo(
                        device.stream().javacpp(), status, id, new CUgraph_st(), dependencies, edges, count),
                "asking for the node of a launch");
        if (count.get() != 1) {
            throw new CudaException("after a recorded launch the stream waits for " + count.get() + " nodes");
        }
        return dependencies.get(0).address();
    }

    /** Ends, and returns the graph. */
    CUgraph_st end() {
        CUgraph_st graph = new CUgraph_st();
        int result = stop(graph);
        CudaDevice.check(result, "recording a graph");
        return graph;
    }

    private int stop(CUgraph_st graph) {
        recording = false;
        device.recordWith(null);
        return cudart.cuStreamEndCapture(device.stream().javacpp(), graph);
    }

    /** Forgets what was recorded, unless {@link #end} was called. */
    @Override
    public void close() {
        if (recording) {
            CUgraph_st graph = new CUgraph_st();
            int unused = stop(graph); // a recording that failed ends with an error, too
            if (!graph.isNull()) {
                CudaDevice.check(cudart.cuGraphDestroy(graph), "cuGraphDestroy");
            }
        }
        status.close();
        id.close();
        dependencies.close();
        edges.close();
        count.close();
    }
}
