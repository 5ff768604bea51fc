package io.fourfold.spark;

import io.fourfold.checkpoint.RunStorage;
import io.fourfold.config.FaultSpec;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.train.fault.FaultMemory;
import java.util.List;

/** Ends the driver's process, as a lost machine would, when a rank notes that an injected {@code driver_restart} strikes. */
final class DriverFault implements AutoCloseable {
    /** What the system reports of a killed process. */
    static final int STATUS = 137;

    private static final long POLL_MILLIS = 50;

    private final FaultMemory memory;
    private final List<FaultSpec> faults;
    private final int struckBefore;
    private final Thread watcher;

    private DriverFault(List<FaultSpec> faults, FaultMemory memory) {
        this.faults = faults;
        this.memory = memory;
        struckBefore = struck();
        watcher = new Thread(this::watch, "driver-fault");
        watcher.setDaemon(true);
    }

    /** Watches from now on; costs nothing when no such fault is configured. */
    static DriverFault watch(FourfoldConfig config, RunStorage folder) {
        List<FaultSpec> faults = config.run().faults().stream()
                .map(FaultSpec::parse)
                .filter(fault -> fault.kind() == FaultSpec.Kind.DRIVER_RESTART)
                .toList();
        DriverFault fault = new DriverFault(faults, new FaultMemory(folder));
        if (!faults.isEmpty()) {
            fault.watcher.start();
        }
        return fault;
    }

    private int struck() {
        return faults.stream().mapToInt(memory::count).sum();
    }

    private void watch() {
        try {
            while (struck() == struckBefore) {
                Thread.sleep(POLL_MILLIS);
            }
            Runtime.getRuntime().halt(STATUS);
        } catch (InterruptedException e) {
            // The run is over.
        }
    }

    @Override
    public void close() {
        watcher.interrupt();
    }
}
