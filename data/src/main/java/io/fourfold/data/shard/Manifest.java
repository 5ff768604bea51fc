package io.fourfold.data.shard;

import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * Describes one split of one data set; stored as {@code manifest.json} beside the shards, written last.
 *
 * @param format always {@value #FORMAT}
 * @param version of the format
 * @param split {@code train} or {@code validation}
 * @param plan fingerprint of the inputs and settings the shards were made from
 * @param documents documents in the shards
 * @param tokens tokens in the shards, end-of-document tokens included
 * @param textBytes UTF-8 bytes of the normalised documents
 * @param duplicates documents of the whole data set (all splits) dropped because their text was seen before
 * @param skipped documents of the whole data set skipped, by reason
 * @param shards in stream order
 */
public record Manifest(
        String format,
        int version,
        String dataSet,
        String split,
        String plan,
        TokenizerInfo tokenizer,
        TokenType tokenType,
        long documents,
        long tokens,
        long textBytes,
        long duplicates,
        Map<String, Long> skipped,
        List<ShardInfo> shards) {
    public static final String FORMAT = "fourfold-shards";
    public static final int VERSION = 1;
    public static final String FILE = "manifest.json";
    public static final String TRAIN = "train";
    public static final String VALIDATION = "validation";

    public Manifest {
        skipped = Collections.unmodifiableMap(new TreeMap<>(skipped));
        shards = List.copyOf(shards);
    }
}
