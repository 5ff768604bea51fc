package io.fourfold.bench;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.cpu.CpuBackend;
import java.util.List;

/** The CPU backend, timed by the clock on the wall. */
public final class CpuBenchDevice implements BenchDevice {
    private final CpuBackend backend;

    /**
     * @param threads of OpenBLAS
     */
    public CpuBenchDevice(int threads) {
        backend = new CpuBackend(threads);
    }

    @Override
    public Backend backend() {
        return backend;
    }

    @Override
    public String description() {
        return backend.description();
    }

    @Override
    public double[] milliseconds(int runs, Runnable work) {
        double[] times = new double[runs];
        for (int i = 0; i < runs; i++) {
            long start = System.nanoTime();
            work.run();
            times[i] = (System.nanoTime() - start) * 1e-6;
        }
        return times;
    }

    @Override
    public Traced trace(Runnable work) {
        return new Traced(List.of(), Double.NaN);
    }

    @Override
    public List<Memory> memory() {
        return List.of();
    }

    @Override
    public boolean cuda() {
        return false;
    }

    @Override
    public void close() {
        backend.close();
    }
}
