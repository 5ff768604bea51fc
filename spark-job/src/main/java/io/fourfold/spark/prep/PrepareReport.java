package io.fourfold.spark.prep;

import io.fourfold.metrics.HumanNumbers;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;

/**
 * What a preparation did, or (dry run) would do.
 *
 * @param dryRun nothing was written
 * @param seconds wall time of the whole job
 */
public record PrepareReport(boolean dryRun, List<DataSetReport> dataSets, double seconds) {
    public PrepareReport {
        dataSets = List.copyOf(dataSets);
    }

    /**
     * One data set.
     *
     * @param folder of its shards
     * @param inputFiles raw files
     * @param inputBytes their stored size
     * @param units pieces of work in all
     * @param unitsReused pieces that an earlier run had finished
     * @param shards shard files of both splits
     * @param documents kept, both splits
     * @param tokens kept, both splits; 0 in a dry run unless everything was there
     * @param validationTokens of them for validation
     * @param duplicates dropped documents
     * @param skipped records without a usable document, by reason
     * @param examples the first few of them with their place
     */
    public record DataSetReport(
            String name,
            String folder,
            int inputFiles,
            long inputBytes,
            int units,
            int unitsReused,
            int shards,
            long documents,
            long tokens,
            long validationTokens,
            long textBytes,
            long duplicates,
            Map<String, Long> skipped,
            List<String> examples,
            double seconds) {
        public DataSetReport {
            skipped = Map.copyOf(skipped);
            examples = List.copyOf(examples);
        }

        /** One line for people. */
        public String line() {
            return String.format(
                    Locale.ROOT,
                    "%s: %s, %,d tokens (%,d for validation) in %s, from %s (%.1f MB); "
                            + "%s dropped, skipped %s; units there already: %d of %d; %.1f s; %s",
                    name,
                    HumanNumbers.counted(documents, "document"),
                    tokens,
                    validationTokens,
                    HumanNumbers.counted(shards, "shard"),
                    HumanNumbers.counted(inputFiles, "file"),
                    inputBytes / 1e6,
                    HumanNumbers.counted(duplicates, "duplicate"),
                    skipped.isEmpty() ? "none" : new TreeMap<>(skipped).toString(),
                    unitsReused,
                    units,
                    seconds,
                    folder);
        }
    }
}
