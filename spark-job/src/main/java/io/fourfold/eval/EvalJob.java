package io.fourfold.eval;

import io.fourfold.checkpoint.TrainedRun;
import io.fourfold.config.DataConfig;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.MoeConfig;
import io.fourfold.data.BatchReader;
import io.fourfold.data.Readers;
import io.fourfold.data.tokenize.Tokenizer;
import io.fourfold.data.tokenize.Tokenizers;
import io.fourfold.metrics.EvalMetrics;
import io.fourfold.model.EvaluationPrecision;
import java.nio.file.Path;

/** Loss and perplexity of a checkpoint on held-out text: what {@code fourfold eval} does. */
public final class EvalJob {
    private static final int FORWARD_TOKENS = 2048;

    /**
     * What to evaluate.
     *
     * @param samples at most so many samples of the split; 0 = all
     * @param split {@code validation} or {@code train}
     * @param precision RECIPE: the forward pass of training; UNQUANTIZED: what an exported model computes
     * @param threads CPU threads
     */
    public record Options(long samples, String split, EvaluationPrecision precision, int threads) {
        public Options {
            if (samples < 0) {
                throw new IllegalArgumentException("samples is " + samples + ", needed is 0 (all) or more");
            }
        }

        /** The whole validation split as in training. */
        public static Options defaults(int threads) {
            return new Options(0, "validation", EvaluationPrecision.RECIPE, threads);
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

    /**
     * Evaluates on prepared data.
     *
     * @param run stays open
     * @throws io.fourfold.data.DataException when the data is missing, damaged or of another tokenizer
     */
    public static Report run(TrainedRun run, Options options) {
        try (TrainedModel model = TrainedModel.of(run, options.threads());
                BatchReader reader = reader(model.config(), options)) {
            Evaluator evaluator = new Evaluator(
                    model.lossModel(options.precision()),
                    reader,
                    microBatchSize(model.config()),
                    model.backend(),
                    model.dataParallel());
            long samples = options.samples() == 0 ? reader.samplesPerEpoch() : options.samples();
            return new Report(evaluator.run(model.step(), samples), model.location());
        }
    }

    /** Enough tokens for large matrix products; as in training where a capacity limit makes samples depend on it. */
    private static int microBatchSize(FourfoldConfig config) {
        int trained = config.train().microBatchSize();
        MoeConfig moe = config.model().moe();
        boolean dependent = moe != null && moe.capacity() != null;
        return dependent
                ? trained
                : Math.max(trained, FORWARD_TOKENS / config.train().sequenceLength());
    }

    private static BatchReader reader(FourfoldConfig config, Options options) {
        DataConfig data = config.data();
        String fingerprint;
        try (Tokenizer tokenizer = Tokenizers.open(data.tokenizer(), data.endOfDocument())) {
            fingerprint = tokenizer.fingerprint();
        }
        return Readers.open(Path.of(data.prepared()), options.split(), ReaderSettings.of(config, fingerprint));
    }
}
