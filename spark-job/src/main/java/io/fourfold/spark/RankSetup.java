package io.fourfold.spark;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.BatchReader;
import io.fourfold.kernels.Backend;
import io.fourfold.train.RunIdentity;
import io.fourfold.train.Trainer;
import java.io.Serializable;
import org.jspecify.annotations.Nullable;

/** Makes the parts of a rank on its executor. Travels to it, so it holds no more than settings. */
interface RankSetup extends Serializable {
    /**
     * What {@link #backend} would use; asked before the ranks meet.
     *
     * @param device index of the rank's GPU, or {@link AssignedGpu#NONE}
     */
    Accelerator accelerator(FourfoldConfig config, int device);

    /**
     * @param device index of the rank's GPU, or {@link AssignedGpu#NONE}
     */
    Backend backend(FourfoldConfig config, int device);

    /**
     * Looks whether an executor can read the data, without reading it all.
     *
     * @throws io.fourfold.data.DataException when it cannot
     */
    void probeData(FourfoldConfig config);

    BatchReader train(FourfoldConfig config, RunIdentity identity);

    /** The training data with a shard that ends too early, for an injected fault. */
    BatchReader truncated(FourfoldConfig config, RunIdentity identity);

    /** Null when there is no validation data. */
    @Nullable
    BatchReader validation(FourfoldConfig config, RunIdentity identity);

    Trainer.ModelFactory model();
}
