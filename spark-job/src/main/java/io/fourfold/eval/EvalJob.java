package io.fourfold.eval;

import io.fourfold.checkpoint.RunStorage;
import io.fourfold.config.DataConfig;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.BatchReader;
import io.fourfold.data.ReaderOptions;
import io.fourfold.data.Readers;
import io.fourfold.data.tokenize.Tokenizer;
import io.fourfold.data.tokenize.Tokenizers;
import io.fourfold.metrics.EvalMetrics;
import io.fourfold.model.EvaluationPrecision;
import java.nio.file.Path;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** Loss and perplexity of a checkpoint on held-out text: what {@code fourfold eval} does. */
public final class EvalJob {
    /**
     * What to evaluate.
     *
     * @param step checkpoint; null = the newest
     * @param samples at most so many samples of the validation split; 0 = all
     * @param prepared prepared data; null = the run's own
     * @param split {@code validation} or {@code train}
     * @param precision RECIPE: the forward pass of training; UNQUANTIZED: what an exported model computes
     * @param threads CPU threads
     */
    public record Options(
            @Nullable Integer step,
            long samples,
            @Nullable Path prepared,
            String split,
            EvaluationPrecision precision,
            int threads) {
        public Options {
            if (samples < 0) {
                throw new IllegalArgumentException("samples is " + samples + ", needed is 0 (all) or more");
            }
        }

        /** The newest checkpoint on the whole validation split as in training. */
        public static Options defaults(int threads) {
            return new Options(null, 0, null, "validation", EvaluationPrecision.RECIPE, threads);
        }
    }

    /**
     * A result.
     *
     * @param metrics mean loss in nats per counted label, labels counted, seconds; perplexity = exp(loss)
     * @param checkpoint full path of what was evaluated
     */
    public record Report(EvalMetrics metrics, String checkpoint) {}

    private EvalJob() {}

    /** Evaluates a checkpoint of a run folder. */
    public static Report run(RunStorage run, Options options) {
        try (TrainedModel model = TrainedModel.open(run, options.step(), options.threads());
                BatchReader reader = reader(model.config(), options)) {
            Evaluator evaluator = new Evaluator(
                    model.lossModel(options.precision()),
                    reader,
                    model.config().train().microBatchSize(),
                    model.backend(),
                    model.dataParallel());
            long samples = options.samples() == 0 ? reader.samplesPerEpoch() : options.samples();
            return new Report(evaluator.run(model.step(), samples), model.location());
        }
    }

    private static BatchReader reader(FourfoldConfig config, Options options) {
        DataConfig data = config.data();
        String fingerprint;
        try (Tokenizer tokenizer = Tokenizers.open(data.tokenizer(), data.endOfDocument())) {
            fingerprint = tokenizer.fingerprint();
        }
        ReaderOptions reader = new ReaderOptions(
                config.train().sequenceLength(),
                config.train().seed(),
                List.copyOf(data.sources().keySet()),
                data.blend(),
                data.documentMask(),
                data.resetPositions(),
                data.maskDocumentStart(),
                data.verifyChecksums(),
                fingerprint,
                config.model().vocabSize());
        Path prepared = options.prepared() == null ? Path.of(data.prepared()) : options.prepared();
        return Readers.open(prepared, options.split(), reader);
    }
}
