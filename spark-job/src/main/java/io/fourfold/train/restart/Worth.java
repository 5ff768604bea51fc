package io.fourfold.train.restart;

import io.fourfold.checkpoint.CheckpointException;
import io.fourfold.config.ConfigException;
import io.fourfold.config.RestartConfig;
import io.fourfold.data.DataException;
import io.fourfold.train.TrainingException;
import org.jspecify.annotations.Nullable;

/** Whether a failure is worth another try. */
enum Worth {
    /** It would fail again the same way. */
    NOTHING,
    /** Reading can go wrong once; the same message again is damaged data. */
    ONCE,
    /** A process, a host or a network failed. */
    RESTART;

    private static final int MAX_CAUSES = 32;

    static Worth of(Throwable failure, RestartConfig.OnNonFinite onNonFinite) {
        @Nullable Throwable at = failure;
        for (int i = 0; at != null && i < MAX_CAUSES; i++) {
            if (at instanceof ConfigException || at instanceof CheckpointException) {
                return NOTHING;
            }
            if (at instanceof DataException) {
                return ONCE;
            }
            if (at instanceof TrainingException training) {
                Worth worth = of(training.code(), onNonFinite);
                if (worth == NOTHING) {
                    return NOTHING;
                }
            }
            at = at.getCause();
        }
        return RESTART;
    }

    private static Worth of(TrainingException.Code code, RestartConfig.OnNonFinite onNonFinite) {
        return switch (code) {
            case TRAIN_SETUP, TRAIN_LAUNCH, TRAIN_GAVE_UP -> NOTHING;
            case TRAIN_NON_FINITE -> onNonFinite == RestartConfig.OnNonFinite.RESTART ? RESTART : NOTHING;
            case TRAIN_RANK_FAILED, TRAIN_RANK_LOST -> RESTART;
        };
    }
}
