package io.fourfold.hf;

import io.fourfold.checkpoint.RunStorage;
import io.fourfold.checkpoint.TrainedRun;
import io.fourfold.config.DataConfig;
import io.fourfold.config.ModelConfig;
import io.fourfold.config.ModelConfig.HfFamily;
import io.fourfold.data.tokenize.Tokenizer;
import io.fourfold.data.tokenize.TokenizerSource;
import io.fourfold.data.tokenize.Tokenizers;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/** Exports a checkpoint of a run as a Hugging Face folder: what {@code fourfold export} does. */
public final class ExportJob {
    private static final String BYTES = "bytes";

    /**
     * What to export.
     *
     * @param step checkpoint; null = the newest
     * @param family the model class; null = the configuration's
     * @param type element type
     * @param maxShardBytes largest file
     * @param tokenizer a tokenizer.json or folder instead of the run's own; null = the run's
     */
    public record Options(
            @Nullable Integer step,
            @Nullable HfFamily family,
            SafetensorsType type,
            long maxShardBytes,
            @Nullable Path tokenizer) {
        public static Options of(SafetensorsType type) {
            return new Options(null, null, type, ExportOptions.DEFAULT_SHARD_BYTES, null);
        }
    }

    private ExportJob() {}

    /**
     * Exports; see {@link HfExporter#export}.
     *
     * @param run the run folder
     * @param out the folder to write
     */
    public static ExportReport run(RunStorage run, Path out, Options options) {
        try (TrainedRun trained = TrainedRun.open(run, options.step())) {
            ModelConfig model = withFamily(trained.config().model(), options.family());
            HfFamilies.require(model);
            DataConfig data = trained.config().data();
            int endOfText;
            try (Tokenizer tokenizer = Tokenizers.open(data.tokenizer(), data.endOfDocument())) {
                endOfText = tokenizer.endOfDocument();
            }
            ExportOptions export = new ExportOptions(
                    options.type(), options.maxShardBytes(), tokenizerFiles(data, options.tokenizer()), endOfText);
            return HfExporter.export(trained.checkpoint(), model, out, export);
        }
    }

    /**
     * The model that {@link #run} would write, after checking that it can; writes nothing.
     *
     * @throws HfException with all reasons when the family cannot express the model
     */
    public static ModelConfig check(RunStorage run, Options options) {
        try (TrainedRun trained = TrainedRun.open(run, options.step())) {
            ModelConfig model = withFamily(trained.config().model(), options.family());
            HfFamilies.require(model);
            return model;
        }
    }

    private static TokenizerFiles tokenizerFiles(DataConfig data, @Nullable Path given) {
        if (given != null) {
            return TokenizerFiles.copyOf(given);
        }
        if (data.tokenizer().equals(BYTES)) {
            return TokenizerFiles.bytes();
        }
        if (TokenizerSource.isFile(data.tokenizer())) {
            Path file = Path.of(data.tokenizer());
            Path folder = file.toAbsolutePath().getParent();
            // Its neighbours belong to it only when it has its standard name.
            return TokenizerFiles.copyOf(file.endsWith("tokenizer.json") && folder != null ? folder : file);
        }
        return TokenizerFiles.none("this run uses " + data.tokenizer()
                + "; load that vocabulary with tiktoken, or export with a tokenizer.json made from it");
    }

    private static ModelConfig withFamily(ModelConfig m, @Nullable HfFamily family) {
        return family == null || family == m.family()
                ? m
                : new ModelConfig(
                        m.name(),
                        family,
                        m.layers(),
                        m.hiddenSize(),
                        m.vocabSize(),
                        m.attention(),
                        m.ffn(),
                        m.moe(),
                        m.tieEmbeddings(),
                        m.normEpsilon(),
                        m.initStd(),
                        m.maxPositions());
    }
}
