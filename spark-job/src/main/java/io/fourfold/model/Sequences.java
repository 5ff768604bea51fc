package io.fourfold.model;

import io.fourfold.data.Batch;
import java.util.Arrays;
import java.util.stream.IntStream;

/** Batches made from bare token sequences. */
final class Sequences {
    private Sequences() {}

    /** One sequence as one document without labels. */
    static Batch single(int[] tokens) {
        if (tokens.length == 0) {
            throw new IllegalArgumentException("an empty sequence has no logits; give at least one token");
        }
        int[] labels = new int[tokens.length];
        Arrays.fill(labels, -1);
        int[] positions = IntStream.range(0, tokens.length).toArray();
        return new Batch(1, tokens.length, tokens, labels, new int[tokens.length], positions, positions);
    }
}
