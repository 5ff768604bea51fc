package io.fourfold.eval;

/** What generation asks of a model. */
@FunctionalInterface
public interface LanguageModel {
    /**
     * Scores of every id as the next token.
     *
     * @param tokens the text so far, at least one token
     * @return unnormalised log-probabilities [V]
     */
    float[] nextLogits(int[] tokens);
}
