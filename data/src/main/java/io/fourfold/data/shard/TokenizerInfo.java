package io.fourfold.data.shard;

import io.fourfold.data.tokenize.Tokenizer;

/** Which tokenizer made the shards. */
public record TokenizerInfo(String description, String fingerprint, int vocabSize, int endOfDocument) {
    /** Describes {@code tokenizer}. */
    public static TokenizerInfo of(Tokenizer tokenizer) {
        return new TokenizerInfo(
                tokenizer.description(), tokenizer.fingerprint(), tokenizer.vocabSize(), tokenizer.endOfDocument());
    }
}
