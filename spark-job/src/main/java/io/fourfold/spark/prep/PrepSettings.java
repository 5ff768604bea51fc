package io.fourfold.spark.prep;

import io.fourfold.data.shard.TokenizerInfo;
import java.io.Serializable;

/** Everything but the input files that decides a data set's shards. */
record PrepSettings(
        String dataSet,
        String textField,
        String tokenizer,
        String tokenizerFingerprint,
        int vocabSize,
        int endOfDocument,
        double validationFraction,
        boolean dedup,
        long maxDocumentBytes,
        long tokensPerShard)
        implements Serializable {
    /** Usual bytes of text behind a token; decides only how work is cut. */
    private static final long BYTES_PER_TOKEN = 4;

    TokenizerInfo tokenizerInfo() {
        return new TokenizerInfo(tokenizer, tokenizerFingerprint, vocabSize, endOfDocument);
    }

    /** Text for one unit: about one shard's worth. */
    long unitTextBytes() {
        return Math.max(1, tokensPerShard * BYTES_PER_TOKEN);
    }
}
