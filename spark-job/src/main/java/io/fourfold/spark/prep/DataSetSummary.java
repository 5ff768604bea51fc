package io.fourfold.spark.prep;

import io.fourfold.data.DataException;
import io.fourfold.data.shard.Manifest;
import io.fourfold.data.shard.ManifestFile;
import io.fourfold.data.shard.ShardInfo;
import io.fourfold.data.shard.TokenType;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Function;

/** Puts the results of a data set's units together. */
final class DataSetSummary {
    private static final int EXAMPLES = 5;

    private DataSetSummary() {}

    /** Checks the whole, then writes both manifests, unless they are there already with the same content. */
    static void writeManifests(PrepPlan plan, PrepSettings settings, UnitFiles files, List<UnitResult> results)
            throws IOException {
        long records = results.stream().mapToLong(UnitResult::records).sum();
        Map<String, Long> skipped = skipped(results);
        BadInput.check(settings, records, skipped, examples(results), BadInput.MAX_SHARE);
        Manifest train = manifest(plan, settings, Manifest.TRAIN, UnitResult::train, results);
        if (train.documents() == 0) {
            throw new DataException("Data set " + settings.dataSet() + " has no usable document for training: "
                    + records + " records, skipped " + skipped + ". Check data.sources." + settings.dataSet() + ".");
        }
        write(files.split(Manifest.TRAIN), train);
        write(
                files.split(Manifest.VALIDATION),
                manifest(plan, settings, Manifest.VALIDATION, UnitResult::validation, results));
    }

    private static void write(Folder split, Manifest manifest) throws IOException {
        byte[] content = ManifestFile.toBytes(manifest);
        if (!split.exists(Manifest.FILE) || !Arrays.equals(content, split.read(Manifest.FILE))) {
            split.write(Manifest.FILE, content);
        }
    }

    private static Manifest manifest(
            PrepPlan plan,
            PrepSettings settings,
            String split,
            Function<UnitResult, UnitResult.SplitResult> part,
            List<UnitResult> results) {
        List<ShardInfo> shards = new ArrayList<>();
        results.forEach(result -> shards.addAll(part.apply(result).shards()));
        return new Manifest(
                Manifest.FORMAT,
                Manifest.VERSION,
                settings.dataSet(),
                split,
                plan.fingerprint(),
                settings.tokenizerInfo(),
                TokenType.of(settings.vocabSize()),
                results.stream()
                        .mapToLong(result -> part.apply(result).documents())
                        .sum(),
                results.stream()
                        .mapToLong(result -> part.apply(result).tokens())
                        .sum(),
                results.stream()
                        .mapToLong(result -> part.apply(result).textBytes())
                        .sum(),
                results.stream().mapToLong(UnitResult::duplicates).sum(),
                skipped(results),
                shards);
    }

    private static Map<String, Long> skipped(List<UnitResult> results) {
        Map<String, Long> sum = new TreeMap<>();
        results.forEach(result -> result.skipped().forEach((reason, count) -> sum.merge(reason, count, Long::sum)));
        return sum;
    }

    private static List<String> examples(List<UnitResult> results) {
        return results.stream()
                .flatMap(result -> result.examples().stream())
                .limit(EXAMPLES)
                .toList();
    }

    static PrepareReport.DataSetReport report(
            PrepSettings settings,
            UnitFiles files,
            List<InputFile> inputs,
            int units,
            int reused,
            List<UnitResult> results,
            long startNanos) {
        long trainTokens = results.stream().mapToLong(r -> r.train().tokens()).sum();
        long validationTokens =
                results.stream().mapToLong(r -> r.validation().tokens()).sum();
        return new PrepareReport.DataSetReport(
                settings.dataSet(),
                files.dataSet().path().toString(),
                inputs.size(),
                inputs.stream().mapToLong(InputFile::length).sum(),
                units,
                reused,
                results.stream()
                        .mapToInt(r -> r.train().shards().size()
                                + r.validation().shards().size())
                        .sum(),
                results.stream()
                        .mapToLong(r -> r.train().documents() + r.validation().documents())
                        .sum(),
                trainTokens + validationTokens,
                validationTokens,
                results.stream()
                        .mapToLong(r -> r.train().textBytes() + r.validation().textBytes())
                        .sum(),
                results.stream().mapToLong(UnitResult::duplicates).sum(),
                skipped(results),
                examples(results),
                (System.nanoTime() - startNanos) / 1e9);
    }
}
