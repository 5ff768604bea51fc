package io.fourfold.eval;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

final class GeneratorTest {
    private static final int END = 9;

    /** The next id is the last one plus one, modulo ten; remembers the contexts it was shown. */
    private static final class Counting implements LanguageModel {
        final List<int[]> contexts = new ArrayList<>();

        @Override
        public float[] nextLogits(int[] tokens) {
            contexts.add(tokens);
            float[] logits = new float[12];
            logits[(tokens[tokens.length - 1] + 1) % 10] = 5;
            logits[11] = 50; // an id of a padded vocabulary
            return logits;
        }
    }

    private static Generation generate(LanguageModel model, int[] prompt, SamplingOptions options) {
        return new Generator(model, 4, 10, END).generate(prompt, options, token -> {});
    }

    @Test
    void stopsAtTheEndOfTheDocument() {
        List<Integer> seen = new ArrayList<>();
        Generation generation = new Generator(new Counting(), 4, 10, END)
                .generate(new int[] {5}, SamplingOptions.greedy(20), seen::add);
        assertThat(generation.tokens()).containsExactly(6, 7, 8);
        assertThat(generation.end()).isEqualTo(Generation.End.END_OF_DOCUMENT);
        assertThat(seen).containsExactly(6, 7, 8);
    }

    @Test
    void stopsAtTheLengthAndCutsTheContext() {
        Counting model = new Counting();
        Generation generation = generate(model, new int[] {0, 1, 2}, SamplingOptions.greedy(4));
        assertThat(generation.tokens()).containsExactly(3, 4, 5, 6);
        assertThat(generation.end()).isEqualTo(Generation.End.LENGTH);
        assertThat(model.contexts)
                .containsExactly(
                        new int[] {0, 1, 2}, new int[] {0, 1, 2, 3}, new int[] {1, 2, 3, 4}, new int[] {2, 3, 4, 5});
    }

    @Test
    void anEmptyPromptBeginsADocument() {
        Counting model = new Counting();
        assertThat(generate(model, new int[0], SamplingOptions.greedy(2)).tokens())
                .containsExactly(0, 1);
        assertThat(model.contexts.get(0)).containsExactly(END);
        Generator endless = new Generator(model, 4, 10, -1);
        assertThatThrownBy(() -> endless.generate(new int[0], SamplingOptions.greedy(1), token -> {}))
                .hasMessageContaining("end-of-document");
        assertThatThrownBy(() -> generate(model, new int[] {10}, SamplingOptions.greedy(1)))
                .hasMessageContaining("id 10");
        assertThatThrownBy(() -> generate(tokens -> new float[3], new int[] {1}, SamplingOptions.greedy(1)))
                .hasMessageContaining("scores 3 ids");
    }

    @Test
    void theSeedDecidesTheText() {
        LanguageModel flat = tokens -> new float[10];
        SamplingOptions options = new SamplingOptions(30, 1, 0, 1, 7);
        int[] first = generate(flat, new int[] {1}, options).tokens();
        assertThat(generate(flat, new int[] {1}, options).tokens()).containsExactly(first);
        int[] other = generate(flat, new int[] {1}, new SamplingOptions(30, 1, 0, 1, 8))
                .tokens();
        assertThat(other).isNotEqualTo(first);
    }

    @Test
    void frequenciesFollowTheProbabilities() {
        float[] logits = {0, (float) Math.log(2), (float) Math.log(5), 0};
        assertThat(frequencies(logits, new SamplingOptions(1, 1, 0, 1, 0)))
                .containsExactly(new double[] {1 / 9.0, 2 / 9.0, 5 / 9.0, 1 / 9.0}, within());
        assertThat(frequencies(logits, new SamplingOptions(1, 0.5, 0, 1, 0)))
                .containsExactly(new double[] {1 / 31.0, 4 / 31.0, 25 / 31.0, 1 / 31.0}, within());
        assertThat(frequencies(logits, new SamplingOptions(1, 1, 2, 1, 0)))
                .containsExactly(new double[] {0, 2 / 7.0, 5 / 7.0, 0}, within());
        assertThat(frequencies(logits, new SamplingOptions(1, 1, 0, 0.5, 0)))
                .containsExactly(new double[] {0, 0, 1, 0}, within());
        assertThat(frequencies(logits, new SamplingOptions(1, 1, 0, 0.6, 0)))
                .containsExactly(new double[] {0, 2 / 7.0, 5 / 7.0, 0}, within());
        assertThat(frequencies(logits, new SamplingOptions(1, 0, 0, 1, 0)))
                .containsExactly(new double[] {0, 0, 1, 0}, within());
    }

    private static org.assertj.core.data.Offset<Double> within() {
        return org.assertj.core.data.Offset.offset(1e-3);
    }

    /** Over draws that cover [0, 1) evenly. */
    private static double[] frequencies(float[] logits, SamplingOptions options) {
        int draws = 4000;
        Sampler sampler = new Sampler(options, n -> (n + 0.5) / draws);
        double[] counts = new double[logits.length];
        IntStream.range(0, draws).forEach(n -> counts[sampler.next(logits, n)] += 1.0 / draws);
        return counts;
    }

    @Test
    void refusesNonFiniteLogitsAndBadOptions() {
        assertThatThrownBy(() -> generate(
                        tokens -> {
                            float[] logits = new float[10];
                            Arrays.fill(logits, Float.NaN);
                            return logits;
                        },
                        new int[] {1},
                        SamplingOptions.greedy(1)))
                .hasMessageContaining("NaN for id 0");
        assertThatThrownBy(() -> new SamplingOptions(0, -1, -2, 0, 1))
                .hasMessageContainingAll("maxNewTokens is 0", "temperature is -1", "topK is -2", "topP is 0");
    }
}
