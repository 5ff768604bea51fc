package io.fourfold.spark.prep;

import io.fourfold.data.DataException;
import io.fourfold.data.text.SkipReason;
import java.util.List;
import java.util.Map;

/** Tells a few damaged records, which are skipped and counted, from input that is not what it should be. */
final class BadInput {
    /** Largest share of bad records in a data set. */
    static final double MAX_SHARE = 0.05;

    /** Share of bad records at which a unit stops at once. */
    static final double HOPELESS_SHARE = 0.5;

    /** This many bad records are never an error by themselves. */
    private static final long TOLERATED = 10;

    private BadInput() {}

    /** @throws DataException if more than {@code maxShare} of the records, and more than a handful, are bad */
    static void check(
            PrepSettings settings, long records, Map<String, Long> skipped, List<String> examples, double maxShare) {
        long bad = 0;
        for (SkipReason reason : SkipReason.values()) {
            bad += reason.bad() ? skipped.getOrDefault(reason.key(), 0L) : 0;
        }
        if (bad > TOLERATED && bad > maxShare * records) {
            throw new DataException("Data set " + settings.dataSet() + " is not usable: " + bad + " of " + records
                    + " records are bad " + skipped + ", for example: " + String.join("; ", examples)
                    + ". Check data.sources." + settings.dataSet() + " and data.text_field ('" + settings.textField()
                    + "').");
        }
    }
}
