package io.fourfold.kernels.cuda;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import jcuda.driver.CUevent;
import jcuda.driver.CUevent_flags;
import jcuda.driver.JCudaDriver;
import org.jspecify.annotations.Nullable;

/**
 * Times every piece of GPU work between two events while it is switched on: where a step goes, and how long the GPU has
 * nothing to do. Work on other streams than the device's own is listed, but does not count as busy: it runs beside. The events themselves cost one or two microseconds a launch, so a traced step is a little slower than
 * one that is not.
 */
public final class CudaTrace {
    /**
     * Work of one name.
     *
     * @param count launches
     * @param milliseconds sum of their times
     * @param longest of them, milliseconds
     * @param longestHost longest time the host took to queue one, milliseconds
     */
    public record Entry(String name, int count, double milliseconds, double longest, double longestHost) {}

    /**
     * What was seen between start and stop.
     *
     * @param entries longest first
     * @param busyMilliseconds sum over all work
     * @param milliseconds from the first start to the last end
     */
    public record Report(List<Entry> entries, double busyMilliseconds, double milliseconds) {
        /** Share of the time in which nothing ran, 0..1. */
        public double idleShare() {
            return milliseconds == 0 ? 0 : 1 - busyMilliseconds / milliseconds;
        }
    }

    private record Span(String name, CUevent start, CUevent end, long hostNanos, boolean beside) {}

    private final CudaStream stream;
    private final Deque<CUevent> spare = new ArrayDeque<>();
    private final List<Span> spans = new ArrayList<>();
    private boolean on;
    private boolean pieces;
    private long begunNanos;

    CudaTrace(CudaStream stream) {
        this.stream = stream;
    }

    /** True while work that could be queued as a whole is to be queued piece by piece. */
    boolean wantsPieces() {
        return on && pieces;
    }

    /** Forgets what was seen and begins; CUDA graphs are taken apart, so that every kernel shows. */
    public void start() {
        begin(true);
    }

    /** The same with work queued as it is without a trace: a CUDA graph is one piece. */
    public void startWhole() {
        begin(false);
    }

    private void begin(boolean takenApart) {
        recycle();
        on = true;
        pieces = takenApart;
    }

    /** Ends, waits for the GPU and adds up. */
    public Report stop() {
        on = false;
        stream.synchronize();
        Map<String, Integer> counts = new LinkedHashMap<>();
        Map<String, Double> times = new LinkedHashMap<>();
        Map<String, Double> longest = new LinkedHashMap<>();
        Map<String, Double> host = new LinkedHashMap<>();
        double busy = 0;
        for (Span span : spans) {
            CudaDevice.check(JCudaDriver.cuEventSynchronize(span.end), "cuEventSynchronize");
            double time = elapsed(span.start, span.end);
            busy += span.beside ? 0 : time;
            counts.merge(span.name, 1, Integer::sum);
            times.merge(span.name, time, Double::sum);
            longest.merge(span.name, time, Math::max);
            host.merge(span.name, span.hostNanos * 1e-6, Math::max);
        }
        List<Span> own = spans.stream().filter(span -> !span.beside).toList();
        double total = own.isEmpty() ? 0 : elapsed(own.get(0).start, own.get(own.size() - 1).end);
        List<Entry> entries = new ArrayList<>();
        times.forEach((name, time) -> entries.add(new Entry(
                name,
                counts.getOrDefault(name, 0),
                time,
                longest.getOrDefault(name, 0.0),
                host.getOrDefault(name, 0.0))));
        entries.sort((a, b) -> Double.compare(b.milliseconds, a.milliseconds));
        return new Report(List.copyOf(entries), busy, total);
    }

    /** Before work is queued; what {@link #end} wants back. Null while off. */
    @Nullable
    CUevent begin() {
        return begin(stream);
    }

    /** The same for work on any stream. */
    @Nullable
    CUevent begin(CudaStream queue) {
        if (!on) {
            return null;
        }
        CUevent event = mark(queue);
        begunNanos = System.nanoTime();
        return event;
    }

    /** After the work was queued. */
    void end(@Nullable CUevent begun, String name) {
        end(begun, name, stream);
    }

    /** The same for work on any stream. */
    void end(@Nullable CUevent begun, String name, CudaStream queue) {
        if (begun != null) {
            long host = System.nanoTime() - begunNanos;
            spans.add(new Span(name, begun, mark(queue), host, queue != stream));
        }
    }

    void close() {
        recycle();
        spare.forEach(event -> CudaDevice.check(JCudaDriver.cuEventDestroy(event), "cuEventDestroy"));
        spare.clear();
    }

    private void recycle() {
        for (Span span : spans) {
            spare.push(span.start);
            spare.push(span.end);
        }
        spans.clear();
    }

    private CUevent mark(CudaStream queue) {
        CUevent event = spare.poll();
        if (event == null) {
            event = new CUevent();
            CudaDevice.check(JCudaDriver.cuEventCreate(event, CUevent_flags.CU_EVENT_DEFAULT), "cuEventCreate");
        }
        CudaDevice.check(JCudaDriver.cuEventRecord(event, queue.jcuda()), "cuEventRecord");
        return event;
    }

    private static double elapsed(CUevent from, CUevent to) {
        float[] time = new float[1];
        CudaDevice.check(JCudaDriver.cuEventElapsedTime(time, from, to), "cuEventElapsedTime");
        return time[0];
    }
}
