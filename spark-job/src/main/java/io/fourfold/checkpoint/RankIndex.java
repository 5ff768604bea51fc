package io.fourfold.checkpoint;

import java.util.List;
import java.util.Map;

/**
 * What one rank's data file holds; stored beside it as JSON.
 *
 * @param rank world rank that wrote it
 * @param dataFile file name within the checkpoint
 * @param dataBytes its length
 * @param dataSha256 its hash, lower-case hexadecimal
 * @param shapes global shape of each tensor that occurs
 * @param layouts where elements lie, shared by sections that are cut alike
 * @param sections FP32 little-endian blocks of the data file
 */
record RankIndex(
        int rank,
        String dataFile,
        long dataBytes,
        String dataSha256,
        Map<String, long[]> shapes,
        List<List<StoredRun>> layouts,
        List<Section> sections) {
    /**
     * One flat block of the data file.
     *
     * @param layout index into the layouts
     * @param position first byte
     * @param elements values in the block
     */
    record Section(Quantity quantity, int layout, long position, long elements) {}

    /** {@link PieceRange} at element {@code a} of a section, with short keys, for there are many. */
    record StoredRun(String t, long[] o, long[] e, long f, long l, long a) {
        static StoredRun of(PieceRange range, long at) {
            return new StoredRun(range.tensor(), range.offset(), range.extent(), range.from(), range.to(), at);
        }

        PieceRange range() {
            return new PieceRange(t, o, e, f, l);
        }
    }
}
