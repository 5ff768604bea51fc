package io.fourfold.data;

/**
 * Random access to the run's sample stream: a pure function of (data, seed), the same for any number of ranks. Reading
 * at any position costs the same, so resuming needs the count of consumed samples and nothing else.
 */
public interface BatchReader extends AutoCloseable {
    int sequenceLength();

    /** Samples in one pass over the data; the stream goes on with another order after that. */
    long samplesPerEpoch();

    /**
     * Reads samples {@code [first, first + count)} of the stream.
     *
     * @param first index in the stream: consumed samples plus this rank's place in the global batch
     * @param rowIdBase rowIds of the first sample start here
     */
    Batch read(long first, int count, int rowIdBase);

    @Override
    void close();
}
