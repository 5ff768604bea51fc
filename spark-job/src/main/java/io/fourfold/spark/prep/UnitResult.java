package io.fourfold.spark.prep;

import io.fourfold.data.shard.ShardInfo;
import java.util.List;
import java.util.Map;

/**
 * What became of a unit; stored last, as {@code units/<unit>.json}, so its existence says the unit's files are complete.
 *
 * @param plan fingerprint of the plan it belongs to
 * @param records in the unit's inputs, skipped ones included
 * @param table the unit's part of the token table
 */
record UnitResult(
        int unit,
        String plan,
        long records,
        long duplicates,
        Map<String, Long> skipped,
        List<String> examples,
        SplitResult train,
        SplitResult validation,
        TableInfo table) {
    UnitResult {
        skipped = Map.copyOf(skipped);
        examples = List.copyOf(examples);
    }

    /** One split's share. */
    record SplitResult(long documents, long tokens, long textBytes, List<ShardInfo> shards) {
        SplitResult {
            shards = List.copyOf(shards);
        }
    }

    /** A file of the token table. */
    record TableInfo(String file, long bytes, String crc32c) {}
}
