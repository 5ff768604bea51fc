package io.fourfold.eval;

import java.util.ArrayList;
import java.util.List;

/**
 * How the next token is chosen.
 *
 * @param maxNewTokens at most so many tokens are added
 * @param temperature divides the logits; 0 = always the most probable token
 * @param topK only the k most probable tokens; 0 = all
 * @param topP only the most probable tokens whose probabilities first sum to at least this; 1 = all
 * @param seed of the random draws; the same seed and prompt give the same text
 */
public record SamplingOptions(int maxNewTokens, double temperature, int topK, double topP, long seed) {
    public SamplingOptions {
        List<String> problems = new ArrayList<>();
        if (maxNewTokens < 1) {
            problems.add("maxNewTokens is " + maxNewTokens + ", needed is at least 1");
        }
        if (!(temperature >= 0 && temperature < Double.POSITIVE_INFINITY)) {
            problems.add("temperature is " + temperature + ", needed is 0 (greedy) or more");
        }
        if (topK < 0) {
            problems.add("topK is " + topK + ", needed is 0 (all tokens) or more");
        }
        if (!(topP > 0 && topP <= 1)) {
            problems.add("topP is " + topP + ", needed is more than 0 and at most 1");
        }
        if (!problems.isEmpty()) {
            throw new IllegalArgumentException(String.join("; ", problems));
        }
    }

    public static SamplingOptions greedy(int maxNewTokens) {
        return new SamplingOptions(maxNewTokens, 0, 0, 1, 0);
    }
}
