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
    Backend backend(FourfoldConfig config);

    BatchReader train(FourfoldConfig config, RunIdentity identity);

    /** Null when there is no validation data. */
    @Nullable
    BatchReader validation(FourfoldConfig config, RunIdentity identity);

    Trainer.ModelFactory model();
}
