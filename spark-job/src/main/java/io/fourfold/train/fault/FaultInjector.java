package io.fourfold.train.fault;

import io.fourfold.checkpoint.RunStorage;
import io.fourfold.config.FaultSpec;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.BatchReader;
import io.fourfold.kernels.Backend;
import io.fourfold.train.TrainableModel;
import io.fourfold.train.Trainer;
import java.util.List;
import java.util.function.Supplier;

/**
 * Wraps what a rank trains with so that the configured faults strike it. A rank without faults gets back what it gave, so
 * that an ordinary run pays nothing.
 */
public final class FaultInjector {
    /** What a crash does where this rank runs. */
    @FunctionalInterface
    public interface Crash {
        /** Ends the process, or throws where that would end more than the rank. */
        void now(String reason);
    }

    private final List<FaultSpec> faults;
    private final FaultMemory memory;
    private final Crash crash;
    private final int globalBatch;

    private FaultInjector(List<FaultSpec> faults, FaultMemory memory, Crash crash, int globalBatch) {
        this.faults = faults;
        this.memory = memory;
        this.crash = crash;
        this.globalBatch = globalBatch;
    }

    /**
     * @param run the run folder, itself not wrapped
     */
    public static FaultInjector of(FourfoldConfig config, int rank, RunStorage run, Crash crash) {
        List<FaultSpec> mine = config.run().faults().stream()
                .map(FaultSpec::parse)
                .filter(fault -> fault.rank() == rank)
                .toList();
        return new FaultInjector(
                mine, new FaultMemory(run), crash, config.train().globalBatchSize());
    }

    /** A model whose steps crash, hang, are slow or give a gradient that is not a number. */
    public Trainer.ModelFactory model(Trainer.ModelFactory factory) {
        List<FaultSpec> ofSteps = faults.stream()
                .filter(fault -> switch (fault.kind()) {
                    case CRASH, HANG, SLOW, NON_FINITE, DRIVER_RESTART -> true;
                    case TRUNCATED_SHARD, FULL_DISK -> false;
                })
                .toList();
        if (ofSteps.isEmpty()) {
            return factory;
        }
        return (inputs, groups) -> {
            Backend backend = inputs.backend();
            TrainableModel model = factory.create(inputs, groups);
            return new FaultyModel(model, backend, ofSteps, memory, crash);
        };
    }

    /**
     * A reader that finds its data truncated.
     *
     * @param truncated opens the same data with a shard that ends too early
     */
    public BatchReader reader(BatchReader reader, Supplier<BatchReader> truncated) {
        List<FaultSpec> ofReading = of(FaultSpec.Kind.TRUNCATED_SHARD);
        return ofReading.isEmpty() ? reader : new FaultyReader(reader, truncated, ofReading, memory, globalBatch);
    }

    /** A run folder whose disk is full when a checkpoint is written. */
    public RunStorage storage(RunStorage storage) {
        List<FaultSpec> ofWriting = of(FaultSpec.Kind.FULL_DISK);
        return ofWriting.isEmpty() ? storage : new FullDiskStorage(storage, ofWriting, memory);
    }

    private List<FaultSpec> of(FaultSpec.Kind kind) {
        return faults.stream().filter(fault -> fault.kind() == kind).toList();
    }
}
