package io.fourfold.spark.prep;

import java.util.List;
import java.util.Optional;

/** Unit results on their way from tasks to the driver: as JSON, since they hold types that Java does not serialize. */
final class UnitResults {
    private UnitResults() {}

    static byte[] pack(Optional<UnitResult> result) {
        return PrepJson.toBytes(result.map(List::of).orElseGet(List::of));
    }

    static Optional<UnitResult> unpack(byte[] bytes) {
        UnitResult[] results = PrepJson.parse(bytes, UnitResult[].class);
        return results.length == 0 ? Optional.empty() : Optional.of(results[0]);
    }
}
