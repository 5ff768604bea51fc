package io.fourfold.train;

import io.fourfold.data.Batch;
import io.fourfold.data.BatchReader;
import java.util.Arrays;
import java.util.SplittableRandom;

/** Counting sequences with random start and stride: learnable, and a pure function of the sample number. */
public class SyntheticReader implements BatchReader {
    private final int sequenceLength;
    private final int vocabulary;
    private final long seed;
    private final int mostMasked;

    public SyntheticReader(int sequenceLength, int vocabulary, long seed) {
        this(sequenceLength, vocabulary, seed, 3);
    }

    /**
     * @param mostMasked labels of a sample that do not count, at most
     */
    SyntheticReader(int sequenceLength, int vocabulary, long seed, int mostMasked) {
        this.mostMasked = mostMasked;
        this.sequenceLength = sequenceLength;
        this.vocabulary = vocabulary;
        this.seed = seed;
    }

    @Override
    public int sequenceLength() {
        return sequenceLength;
    }

    @Override
    public long samplesPerEpoch() {
        return 1000;
    }

    @Override
    public Batch read(long first, int count, int rowIdBase) {
        int n = count * sequenceLength;
        int[] tokens = new int[n];
        int[] labels = new int[n];
        int[] positions = new int[n];
        int[] rowIds = new int[n];
        for (int s = 0; s < count; s++) {
            SplittableRandom random = new SplittableRandom(seed * 1_000_003 + first + s);
            int value = random.nextInt(vocabulary);
            int stride = 1 + random.nextInt(3);
            // Some labels do not count, a different number in each sample.
            int masked = random.nextInt(mostMasked + 1);
            for (int t = 0; t < sequenceLength; t++) {
                int i = s * sequenceLength + t;
                tokens[i] = value;
                value = (value + stride) % vocabulary;
                labels[i] = t < masked ? -1 : value;
                positions[i] = t;
                rowIds[i] = rowIdBase + i;
            }
        }
        int[] documentStart = new int[n];
        Arrays.fill(documentStart, 0);
        return new Batch(count, sequenceLength, tokens, labels, documentStart, positions, rowIds);
    }

    @Override
    public void close() {}
}
