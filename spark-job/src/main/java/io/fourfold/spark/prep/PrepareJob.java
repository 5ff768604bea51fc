package io.fourfold.spark.prep;

import io.fourfold.config.DataConfig;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.DataException;
import io.fourfold.data.shard.ShardBuilder;
import io.fourfold.data.tokenize.Tokenizer;
import io.fourfold.data.tokenize.TokenizerSource;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Pattern;
import org.apache.hadoop.conf.Configuration;
import org.apache.spark.api.java.JavaSparkContext;
import org.apache.spark.broadcast.Broadcast;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.util.SerializableConfiguration;

/**
 * The Spark job that turns raw text into shards. Running it again after it was killed does only what is missing and gives
 * the same bytes; running it after it finished checks every shard and rewrites what is damaged.
 */
public final class PrepareJob {
    private static final Pattern DATA_SET_NAME = Pattern.compile("[A-Za-z0-9][A-Za-z0-9._-]*");

    private PrepareJob() {}

    /**
     * Prepares every data set of the configuration.
     *
     * @param dryRun look at the inputs and at what is there, write nothing
     * @throws DataException if inputs are missing or not usable, or the folder holds data of other inputs or settings
     */
    public static PrepareReport run(FourfoldConfig config, SparkSession spark, boolean dryRun) {
        return run(config.data(), spark, dryRun, FaultPoint.NONE);
    }

    static PrepareReport run(DataConfig data, SparkSession spark, boolean dryRun, FaultPoint fault) {
        long start = System.nanoTime();
        check(data);
        JavaSparkContext context = JavaSparkContext.fromSparkContext(spark.sparkContext());
        Configuration configuration = context.hadoopConfiguration();
        try {
            TokenizerSource source = TokenizerFiles.read(data.tokenizer(), data.endOfDocument(), configuration);
            Broadcast<TokenizerSource> broadcast = context.broadcast(source);
            List<PrepareReport.DataSetReport> reports = new ArrayList<>();
            try (Tokenizer tokenizer = source.open()) {
                for (Map.Entry<String, List<String>> entry : new TreeMap<>(data.sources()).entrySet()) {
                    PrepSettings settings = settings(entry.getKey(), data, tokenizer);
                    Folder folder = Folder.of(data.prepared(), configuration).child(entry.getKey());
                    WorkContext work = new WorkContext(
                            new SerializableConfiguration(configuration),
                            folder.path().toString(),
                            broadcast,
                            fault);
                    reports.add(new DataSetJob(context, settings, entry.getValue(), work).run(dryRun));
                }
            } finally {
                broadcast.unpersist();
            }
            return new PrepareReport(dryRun, reports, (System.nanoTime() - start) / 1e9);
        } catch (Exception e) {
            // Spark throws its checked exception without declaring it.
            throw known(e, data.prepared());
        }
    }

    private static void check(DataConfig data) {
        if (data.sources().isEmpty()) {
            throw new DataException("data.sources is empty: name at least one data set, for example"
                    + " --set data.sources.books=[text/*.jsonl.zst]");
        }
        for (String name : data.sources().keySet()) {
            if (!DATA_SET_NAME.matcher(name).matches()) {
                throw new DataException("Data set name '" + name
                        + "' becomes a folder name: use letters, digits, '.', '_'" + " and '-' only");
            }
        }
        if (data.tokensPerShard() > ShardBuilder.MAX_TOKENS) {
            throw new DataException("data.tokens_per_shard is " + data.tokensPerShard() + "; the most is "
                    + ShardBuilder.MAX_TOKENS + ", because readers map a shard whole");
        }
    }

    private static PrepSettings settings(String dataSet, DataConfig data, Tokenizer tokenizer) {
        return new PrepSettings(
                dataSet,
                data.textField(),
                tokenizer.description(),
                tokenizer.fingerprint(),
                tokenizer.vocabSize(),
                tokenizer.endOfDocument(),
                data.validationFraction(),
                data.dedup(),
                data.maxDocumentBytes(),
                data.tokensPerShard());
    }

    /** What a task found wrong with the data, without the layers Spark wraps around it. */
    private static RuntimeException known(Exception failure, String prepared) {
        for (Throwable cause = failure; cause != null; cause = cause.getCause()) {
            if (cause instanceof DataException data) {
                return data;
            }
        }
        return new DataException(
                "Preparing " + prepared + " failed: " + failure.getMessage()
                        + ". Units that were finished are kept; the same command goes on from there.",
                failure);
    }
}
