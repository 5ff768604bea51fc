package io.fourfold.eval;

import io.fourfold.checkpoint.TrainedRun;
import io.fourfold.config.DataConfig;
import io.fourfold.data.tokenize.Tokenizer;
import io.fourfold.data.tokenize.Tokenizers;
import io.fourfold.model.EvaluationPrecision;
import java.util.function.Consumer;

/** Continues a text with a checkpoint: what {@code fourfold generate} does. */
public final class GenerateJob {
    /**
     * A continuation.
     *
     * @param text the new text
     * @param tokens how many tokens it has
     * @param end why it stopped
     * @param seconds time to generate, loading not counted
     * @param checkpoint full path of the checkpoint
     */
    public record Report(String text, int tokens, Generation.End end, double seconds, String checkpoint) {}

    private GenerateJob() {}

    /**
     * Continues a prompt.
     *
     * @param run stays open
     * @param prompt text; empty = a new document
     * @param precision RECIPE: the forward pass of training; UNQUANTIZED: what an exported model computes
     * @param threads CPU threads
     * @param output receives the new text piece by piece
     */
    public static Report run(
            TrainedRun run,
            String prompt,
            SamplingOptions sampling,
            EvaluationPrecision precision,
            int threads,
            Consumer<String> output) {
        try (TrainedModel model = TrainedModel.of(run, threads)) {
            DataConfig data = model.config().data();
            try (Tokenizer tokenizer = Tokenizers.open(data.tokenizer(), data.endOfDocument())) {
                long start = System.nanoTime();
                Generator generator = new Generator(
                        model.languageModel(precision),
                        model.config().train().sequenceLength(),
                        tokenizer.vocabSize(),
                        tokenizer.endOfDocument());
                TextStream stream = new TextStream(tokenizer, output);
                Generation generation = generator.generate(tokenizer.encode(prompt), sampling, stream);
                stream.finish();
                return new Report(
                        tokenizer.decode(generation.tokens()),
                        generation.tokens().length,
                        generation.end(),
                        (System.nanoTime() - start) * 1e-9,
                        model.location());
            }
        }
    }
}
