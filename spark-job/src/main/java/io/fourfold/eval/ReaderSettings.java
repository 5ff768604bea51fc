package io.fourfold.eval;

import io.fourfold.config.DataConfig;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.ReaderOptions;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** What a configuration tells the batch reader. */
public final class ReaderSettings {
    private ReaderSettings() {}

    /**
     * @param tokenizerFingerprint of the configured tokenizer, which the shards must match; null = not checked
     */
    public static ReaderOptions of(FourfoldConfig config, @Nullable String tokenizerFingerprint) {
        DataConfig data = config.data();
        return new ReaderOptions(
                config.train().sequenceLength(),
                config.train().seed(),
                List.copyOf(data.sources().keySet()),
                data.blend(),
                data.documentMask(),
                data.resetPositions(),
                data.maskDocumentStart(),
                data.verifyChecksums(),
                tokenizerFingerprint,
                config.model().vocabSize());
    }
}
