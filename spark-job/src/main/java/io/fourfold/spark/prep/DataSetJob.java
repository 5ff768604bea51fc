package io.fourfold.spark.prep;

import io.fourfold.data.DataException;
import io.fourfold.data.shard.Manifest;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import org.apache.hadoop.conf.Configuration;
import org.apache.spark.api.java.JavaRDD;
import org.apache.spark.api.java.JavaSparkContext;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Prepares one data set: plan, find duplicates, tokenize, write manifests. */
final class DataSetJob {
    private static final Logger LOG = LoggerFactory.getLogger(DataSetJob.class);

    private final JavaSparkContext context;
    private final PrepSettings settings;
    private final List<String> sources;
    private final WorkContext work;
    private final UnitFiles files;

    DataSetJob(JavaSparkContext context, PrepSettings settings, List<String> sources, WorkContext work) {
        this.context = context;
        this.settings = settings;
        this.sources = sources;
        this.work = work;
        this.files = work.files();
    }

    PrepareReport.DataSetReport run(boolean dryRun) throws IOException {
        try {
            return runDescribed(dryRun);
        } finally {
            context.setJobDescription(null);
        }
    }

    private PrepareReport.DataSetReport runDescribed(boolean dryRun) throws IOException {
        long start = System.nanoTime();
        Configuration configuration = context.hadoopConfiguration();
        List<InputFile> inputs = InputFiles.find(settings.dataSet(), sources, configuration);
        List<PrepUnit> units = PrepUnit.cut(inputs, settings.unitTextBytes());
        PrepPlan plan = plan(inputs, units.size(), dryRun);
        Done done = new Done(new ArrayList<>(), new ArrayList<>());
        check(units, plan, done);
        int reused = done.results().size();
        LOG.info(
                "Data set {}: {} files, {} units, {} already there",
                settings.dataSet(),
                inputs.size(),
                units.size(),
                reused);
        if (!dryRun) {
            write(plan, units, done);
        }
        return DataSetSummary.report(settings, files, inputs, units.size(), reused, done.results(), start);
    }

    /** Units that are complete, and those to do. */
    private record Done(List<UnitResult> results, List<PrepUnit> missing) {}

    /** The plan for these inputs, after making sure that it does not contradict what is there. */
    private PrepPlan plan(List<InputFile> inputs, int units, boolean dryRun) throws IOException {
        PrepPlan earlier = files.dataSet().exists(PrepPlan.FILE)
                ? PrepJson.read(files.dataSet(), PrepPlan.FILE, PrepPlan.class)
                : null;
        if (earlier == null && dryRun) {
            // Nothing to compare with, so the inputs need not be read.
            return PrepPlan.of(settings, List.of(), units);
        }
        context.setJobDescription("Fourfold prepare " + settings.dataSet() + ": identify inputs");
        List<PrepPlan.Input> contents =
                InputContents.hash(withoutGpu(context.parallelize(inputs, inputs.size())), inputs, earlier, work);
        PrepPlan plan = PrepPlan.of(settings, contents, units);
        if (earlier != null && !earlier.fingerprint().equals(plan.fingerprint())) {
            throw new DataException("The prepared data in " + files.dataSet().path()
                    + " was made from other inputs or settings: "
                    + String.join("; ", earlier.differences(plan))
                    + ". Delete that folder to prepare again, or set data.prepared to another one.");
        }
        return plan;
    }

    /** Sorts units into complete ones and others; checks the checksums of everything that is there. */
    private void check(List<PrepUnit> units, PrepPlan plan, Done done) throws IOException {
        if (files.units().names().isEmpty()) {
            done.missing().addAll(units);
            return;
        }
        context.setJobDescription("Fourfold prepare " + settings.dataSet() + ": check shards");
        WorkContext tasks = work;
        String fingerprint = plan.fingerprint();
        List<Optional<UnitResult>> found = withoutGpu(context.parallelize(units, units.size()))
                .map(unit -> UnitResults.pack(tasks.files().intact(unit, fingerprint)))
                .collect()
                .stream()
                .map(UnitResults::unpack)
                .toList();
        for (int i = 0; i < units.size(); i++) {
            Optional<UnitResult> result = found.get(i);
            if (result.isPresent()) {
                done.results().add(result.get());
            } else {
                done.missing().add(units.get(i));
            }
        }
    }

    private void write(PrepPlan plan, List<PrepUnit> units, Done done) throws IOException {
        clearPartialFiles();
        files.dataSet().write(PrepPlan.FILE, PrepJson.toBytes(plan));
        if (!done.missing().isEmpty()) {
            if (settings.dedup() && !Deduplication.complete(files, units)) {
                context.setJobDescription("Fourfold prepare " + settings.dataSet() + ": find duplicates");
                Deduplication.run(withoutGpu(context.parallelize(units, units.size())), units.size(), settings, work);
            }
            done.results().addAll(tokenize(plan, done.missing()));
            done.results().sort(Comparator.comparingInt(UnitResult::unit));
        }
        DataSetSummary.writeManifests(plan, settings, files, done.results());
    }

    private List<UnitResult> tokenize(PrepPlan plan, List<PrepUnit> missing) {
        context.setJobDescription("Fourfold prepare " + settings.dataSet() + ": tokenize");
        WorkContext tasks = work;
        PrepSettings unitSettings = settings;
        String fingerprint = plan.fingerprint();
        return withoutGpu(context.parallelize(missing, missing.size()))
                .map(unit -> {
                    UnitFiles unitFiles = tasks.files();
                    long[] duplicates = unitSettings.dedup() ? Deduplication.read(unitFiles, unit) : new long[0];
                    UnitResult result = new UnitWriter(
                                    unit, unitSettings, unitFiles, tasks.tokenizer(unitSettings.tokenizerFingerprint()))
                            .write(fingerprint, duplicates, tasks.configuration(), tasks.fault());
                    return UnitResults.pack(Optional.of(result));
                })
                .collect()
                .stream()
                .map(bytes -> UnitResults.unpack(bytes).orElseThrow())
                .toList();
    }

    private void clearPartialFiles() throws IOException {
        for (Folder folder : List.of(
                files.dataSet(),
                files.units(),
                files.duplicates(),
                files.table(),
                files.split(Manifest.TRAIN),
                files.split(Manifest.VALIDATION))) {
            folder.deletePartialFiles();
        }
    }

    private <T> JavaRDD<T> withoutGpu(JavaRDD<T> rdd) {
        return CpuOnly.stage(context, rdd);
    }
}
