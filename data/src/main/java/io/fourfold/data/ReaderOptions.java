package io.fourfold.data;

import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * How a {@link BatchReader} reads prepared data.
 *
 * @param sequenceLength tokens per sample
 * @param seed of the sample order
 * @param dataSets names of the data sets to read when there is no blend; empty = every one in the folder
 * @param blend relative weight by data set; empty = by number of samples
 * @param documentMask report document starts, so that attention can stay within a document
 * @param resetPositions count rotary positions from the start of each document
 * @param maskDocumentStart no label where the next token begins another document
 * @param verifyChecksums compare each shard's checksum when it is first touched
 * @param tokenizerFingerprint of the tokenizer in use; null = not checked
 * @param modelVocabSize rows of the model's embedding; 0 = not checked
 */
public record ReaderOptions(
        int sequenceLength,
        long seed,
        List<String> dataSets,
        Map<String, Double> blend,
        boolean documentMask,
        boolean resetPositions,
        boolean maskDocumentStart,
        boolean verifyChecksums,
        @Nullable String tokenizerFingerprint,
        int modelVocabSize) {
    public ReaderOptions {
        if (sequenceLength < 1) {
            throw new IllegalArgumentException("sequenceLength must be positive, not " + sequenceLength);
        }
        dataSets = List.copyOf(dataSets);
        blend = Map.copyOf(blend);
    }

    /** Every data set by size, documents masked, checksums verified, tokenizer and model not checked. */
    public static ReaderOptions of(int sequenceLength, long seed) {
        return new ReaderOptions(sequenceLength, seed, List.of(), Map.of(), true, false, true, true, null, 0);
    }

    /** The same with other weights. */
    public ReaderOptions withBlend(Map<String, Double> weights) {
        return new ReaderOptions(
                sequenceLength,
                seed,
                dataSets,
                weights,
                documentMask,
                resetPositions,
                maskDocumentStart,
                verifyChecksums,
                tokenizerFingerprint,
                modelVocabSize);
    }

    /** The same with other treatment of documents. */
    public ReaderOptions withDocuments(boolean mask, boolean reset, boolean maskStart) {
        return new ReaderOptions(
                sequenceLength,
                seed,
                dataSets,
                blend,
                mask,
                reset,
                maskStart,
                verifyChecksums,
                tokenizerFingerprint,
                modelVocabSize);
    }

    /** The same, for shards made by this tokenizer and a model of this vocabulary only. */
    public ReaderOptions withChecks(@Nullable String fingerprint, int vocabSize) {
        return new ReaderOptions(
                sequenceLength,
                seed,
                dataSets,
                blend,
                documentMask,
                resetPositions,
                maskDocumentStart,
                verifyChecksums,
                fingerprint,
                vocabSize);
    }
}
