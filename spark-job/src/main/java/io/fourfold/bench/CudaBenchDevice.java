package io.fourfold.bench;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.cuda.CudaArena;
import io.fourfold.kernels.cuda.CudaBackend;
import io.fourfold.kernels.cuda.CudaTimer;
import io.fourfold.kernels.cuda.CudaTrace;
import io.fourfold.kernels.tensor.Region;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** One GPU, timed by events on its stream. */
public final class CudaBenchDevice implements BenchDevice {
    private static final Path DRIVER = Path.of("/proc/driver/nvidia/version");
    private static final Pattern VERSION = Pattern.compile("\\b\\d{3}\\.\\d+(\\.\\d+)?\\b");

    private final CudaBackend backend;

    public CudaBenchDevice(int ordinal) {
        this(new CudaBackend(ordinal));
    }

    /** Closes the backend when it is closed. */
    public CudaBenchDevice(CudaBackend backend) {
        this.backend = backend;
    }

    @Override
    public Backend backend() {
        return backend;
    }

    @Override
    public String description() {
        return backend.description() + driver();
    }

    private static String driver() {
        try {
            Matcher version = VERSION.matcher(Files.readString(DRIVER));
            return version.find() ? ", driver " + version.group() : "";
        } catch (IOException e) {
            return ""; // containers may hide /proc/driver; the CUDA version of the driver is named anyway
        }
    }

    @Override
    public double[] milliseconds(int runs, Runnable work) {
        return new CudaTimer(backend.runtime().device()).milliseconds(runs, work);
    }

    @Override
    public Traced trace(Runnable work) {
        CudaTrace trace = backend.runtime().device().trace();
        trace.startWhole();
        work.run();
        double idleShare = trace.stop().idleShare();
        trace.start();
        work.run();
        CudaTrace.Report report = trace.stop();
        List<TracedWork> entries = new ArrayList<>();
        for (CudaTrace.Entry entry : report.entries()) {
            entries.add(new TracedWork(
                    entry.name(), entry.count(), entry.milliseconds(), entry.longest(), entry.longestHost()));
        }
        return new Traced(entries, idleShare);
    }

    @Override
    public List<Memory> memory() {
        CudaArena arena = backend.runtime().memory().arena();
        List<Memory> regions = new ArrayList<>();
        for (Region region : Region.values()) {
            long lent = region == Region.GRADIENTS ? arena.peakLentBytes() : 0;
            regions.add(new Memory(region.name(), arena.peakBytes(region), arena.reservedBytes(region), lent));
        }
        return regions;
    }

    @Override
    public boolean cuda() {
        return true;
    }

    @Override
    public void close() {
        backend.close();
    }
}
