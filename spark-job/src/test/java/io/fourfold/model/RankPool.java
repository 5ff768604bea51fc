package io.fourfold.model;

import io.fourfold.bench.BenchDevice;
import io.fourfold.bench.BenchRanks;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.Batch;
import io.fourfold.model.RankGroup.StepResult;
import java.util.HashMap;
import java.util.Map;
import java.util.function.IntFunction;

/** Ranks with devices of their own, kept open from step to step, since opening devices takes longer than a step. */
final class RankPool {
    private final IntFunction<BenchDevice> device;
    private final Map<Integer, BenchRanks> open = new HashMap<>();

    /**
     * @param device opens the device of a rank
     */
    RankPool(IntFunction<BenchDevice> device) {
        this.device = device;
    }

    /** A step of as many ranks as the configuration has; they are opened anew after a failure. */
    StepResult step(FourfoldConfig config, Batch batch, StepContext step) throws InterruptedException {
        int size = config.parallel().worldSize();
        BenchRanks ranks = open.get(size);
        if (ranks == null) {
            ranks = BenchRanks.open(size, device);
            open.put(size, ranks);
        }
        try {
            return RankGroup.step(ranks, config, batch, step);
        } catch (RuntimeException | Error e) {
            open.remove(size);
            try {
                ranks.close();
            } catch (RuntimeException suppressed) {
                e.addSuppressed(suppressed);
            }
            throw e;
        }
    }

    void close() throws InterruptedException {
        for (BenchRanks ranks : open.values()) {
            ranks.close();
        }
        open.clear();
    }
}
