package io.fourfold.eval;

import io.fourfold.kernels.numeric.CounterRandom;
import java.util.Arrays;
import java.util.function.IntConsumer;

/**
 * Continues a token sequence one token at a time. The whole context is computed anew for every token, which is enough for
 * a look at a small model; a context longer than the model's is cut at its start.
 */
public final class Generator {
    private static final long STREAM = CounterRandom.stream("generate");

    private final LanguageModel model;
    private final int maxContext;
    private final int vocabSize;
    private final int endOfDocument;

    /**
     * @param maxContext tokens the model can look at
     * @param vocabSize ids from here on, with which a vocabulary was padded, are never chosen
     * @param endOfDocument id that ends a continuation; negative = none
     */
    public Generator(LanguageModel model, int maxContext, int vocabSize, int endOfDocument) {
        if (maxContext < 1 || vocabSize < 1) {
            throw new IllegalArgumentException(
                    "maxContext " + maxContext + " and vocabSize " + vocabSize + " must be at least 1");
        }
        this.model = model;
        this.maxContext = maxContext;
        this.vocabSize = vocabSize;
        this.endOfDocument = endOfDocument;
    }

    /**
     * Continues a prompt.
     *
     * @param prompt ids; empty = a new document, which begins after an end-of-document token
     * @param onToken sees every new token as soon as it is chosen
     */
    public Generation generate(int[] prompt, SamplingOptions options, IntConsumer onToken) {
        int[] tokens = start(prompt);
        int from = tokens.length;
        Sampler sampler = new Sampler(options, n -> uniform(options.seed(), n));
        tokens = Arrays.copyOf(tokens, Math.addExact(from, options.maxNewTokens()));
        for (int length = from; length < tokens.length; length++) {
            int[] context = Arrays.copyOfRange(tokens, Math.max(0, length - maxContext), length);
            float[] logits = model.nextLogits(context);
            if (logits.length < vocabSize) {
                throw new IllegalArgumentException("the model scores " + logits.length + " ids but the tokenizer has "
                        + vocabSize + ": they do not belong together");
            }
            int next = sampler.next(Arrays.copyOf(logits, vocabSize), length - from);
            if (next == endOfDocument) {
                return new Generation(Arrays.copyOfRange(tokens, from, length), Generation.End.END_OF_DOCUMENT);
            }
            tokens[length] = next;
            onToken.accept(next);
        }
        return new Generation(Arrays.copyOfRange(tokens, from, tokens.length), Generation.End.LENGTH);
    }

    private static double uniform(long seed, int n) {
        float[] draw = new float[1];
        CounterRandom.fillUniform(seed, STREAM, n, draw, 0, 1);
        return draw[0];
    }

    private int[] start(int[] prompt) {
        for (int token : prompt) {
            if (token < 0 || token >= vocabSize) {
                throw new IllegalArgumentException(
                        "the prompt has id " + token + ", ids are 0.." + (vocabSize - 1) + ": use the run's tokenizer");
            }
        }
        if (prompt.length > 0) {
            return prompt;
        }
        if (endOfDocument < 0) {
            throw new IllegalArgumentException("an empty prompt needs a tokenizer with an end-of-document token");
        }
        return new int[] {endOfDocument};
    }
}
