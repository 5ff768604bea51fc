package io.fourfold.bench;

import io.fourfold.kernels.Backend;
import java.util.List;

/** A backend to measure, with its clock and a view of its memory. */
public interface BenchDevice extends AutoCloseable {
    /**
     * Time of the work of one name in one traced run.
     *
     * @param name kernel or library call
     * @param count calls
     * @param milliseconds sum
     * @param longest single call, milliseconds
     * @param longestHost longest time the host took to queue one, milliseconds
     */
    record TracedWork(String name, int count, double milliseconds, double longest, double longestHost) {}

    /**
     * Where the time of traced runs went: one as it is, and one with work that is queued as a whole taken apart.
     *
     * @param work longest first; empty where the backend cannot be traced
     * @param idleShare part of the time in which the device had nothing to do, 0..1; NaN where unknown
     */
    record Traced(List<TracedWork> work, double idleShare) {
        public Traced {
            work = List.copyOf(work);
        }
    }

    /**
     * Bytes of one region of device memory.
     *
     * @param region its name
     * @param peak most in use at a time
     * @param reserved taken from the device
     * @param lent most of it that held activations and workspace at a time
     */
    record Memory(String region, long peak, long reserved, long lent) {}

    Backend backend();

    /** Device and driver, for result files. */
    String description();

    /** Milliseconds of each of {@code runs} runs in order; by device events where there are any. */
    double[] milliseconds(int runs, Runnable work);

    Traced trace(Runnable work);

    /** Region by region; empty where the backend does not count. */
    List<Memory> memory();

    /** True when this is a GPU. */
    boolean cuda();

    @Override
    void close();
}
