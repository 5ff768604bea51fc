package io.fourfold.data;

/**
 * Samples as the model takes them, flattened to [samples * sequenceLength].
 *
 * @param tokens input ids
 * @param labels next ids; -1 = no loss
 * @param documentStart for each position the index within its sequence of the first token of its document (0 when
 *     documents are not masked)
 * @param positions rotary positions
 * @param rowIds position of each token in the global batch: (index of the sample within the step) * sequenceLength + t
 */
public record Batch(
        int samples,
        int sequenceLength,
        int[] tokens,
        int[] labels,
        int[] documentStart,
        int[] positions,
        int[] rowIds) {
    public int tokenCount() {
        return samples * sequenceLength;
    }

    /** Labels that count in the loss. */
    public int labelCount() {
        int n = 0;
        for (int label : labels) {
            n += label >= 0 ? 1 : 0;
        }
        return n;
    }
}
