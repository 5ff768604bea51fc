package io.fourfold.spark.prep;

import io.fourfold.data.shard.Checksums;
import io.fourfold.data.shard.Manifest;
import io.fourfold.data.shard.ShardInfo;
import java.io.IOException;
import java.io.InputStream;
import java.util.Optional;

/** The files of a data set's folder: what they are called, and which units are complete. */
record UnitFiles(Folder dataSet) {
    static final String UNITS = "units";
    static final String DUPLICATES = "duplicates";
    static final String TABLE = "tokens";

    static String resultName(PrepUnit unit) {
        return unit.name() + ".json";
    }

    static String duplicatesName(PrepUnit unit) {
        return unit.name() + ".bin";
    }

    static String tableName(PrepUnit unit) {
        return unit.name() + ".parquet";
    }

    static String shardName(PrepUnit unit, int number) {
        return String.format(java.util.Locale.ROOT, "%s-%03d.arrow", unit.name(), number);
    }

    Folder split(String split) {
        return dataSet.child(split);
    }

    Folder units() {
        return dataSet.child(UNITS);
    }

    Folder duplicates() {
        return dataSet.child(DUPLICATES);
    }

    Folder table() {
        return dataSet.child(TABLE);
    }

    /** The unit's result if it is of this plan and all its files have their recorded size and checksum. */
    Optional<UnitResult> intact(PrepUnit unit, String plan) throws IOException {
        if (!units().exists(resultName(unit))) {
            return Optional.empty();
        }
        UnitResult result = PrepJson.read(units(), resultName(unit), UnitResult.class);
        if (!result.plan().equals(plan)
                || !same(
                        table(),
                        result.table().file(),
                        result.table().bytes(),
                        result.table().crc32c())) {
            return Optional.empty();
        }
        for (ShardInfo shard : result.train().shards()) {
            if (!same(split(Manifest.TRAIN), shard.file(), shard.bytes(), shard.crc32c())) {
                return Optional.empty();
            }
        }
        for (ShardInfo shard : result.validation().shards()) {
            if (!same(split(Manifest.VALIDATION), shard.file(), shard.bytes(), shard.crc32c())) {
                return Optional.empty();
            }
        }
        return Optional.of(result);
    }

    private static boolean same(Folder folder, String file, long bytes, String crc32c) throws IOException {
        if (folder.length(file) != bytes) {
            return false;
        }
        try (InputStream in = folder.open(file)) {
            return Checksums.crc32c(in).equals(crc32c);
        }
    }
}
