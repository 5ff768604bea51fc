package io.fourfold.spark;

import io.fourfold.config.FailureReason;
import io.fourfold.train.TrainResult;
import io.fourfold.train.TrainingException;
import java.io.Serializable;
import java.util.List;
import java.util.Objects;
import java.util.stream.IntStream;
import org.apache.spark.SparkContext;
import org.apache.spark.SparkException;
import org.apache.spark.api.java.JavaSparkContext;
import org.apache.spark.rdd.RDD;
import scala.Function1;
import scala.collection.Iterator;
import scala.reflect.ClassTag$;

/**
 * A gang that Spark itself restarts ({@code run.restart.by: spark}). Spark never reruns a barrier stage that ends a job; one
 * that feeds a shuffle is rerun whole, at most {@code spark.stage.maxConsecutiveAttempts} times.
 */
final class StageRetry {
    private StageRetry() {}

    static TrainResult run(SparkContext spark, RankTask task, int ranks, String name) {
        List<Integer> numbers = IntStream.range(0, ranks).boxed().toList();
        RDD<Integer> rdd = JavaSparkContext.fromSparkContext(spark)
                .parallelize(numbers, ranks)
                .rdd();
        spark.setJobGroup(task.runId(), "train " + name, true);
        try {
            List<RankReport> reports = GangResources.ask(rdd, task.configYaml())
                    .barrier()
                    .mapPartitions(new Throwing(task), false, ClassTag$.MODULE$.apply(RankReport.class))
                    .toJavaRDD()
                    .repartition(1)
                    .collect();
            return Objects.requireNonNull(reports.stream()
                    .filter(report -> report.rank() == 0)
                    .findFirst()
                    .orElseThrow()
                    .result());
        } catch (Exception e) {
            // Spark throws its checked SparkException through Scala without declaring it.
            if (e instanceof SparkException || e instanceof RuntimeException) {
                throw new TrainingException(
                        TrainingException.Code.TRAIN_RANK_FAILED,
                        "Spark reran the gang of " + ranks + " ranks as often as"
                                + " spark.stage.maxConsecutiveAttempts allows: "
                                + lastFailure(e) + ". Run the same command to continue from the last checkpoint",
                        e);
            }
            throw new IllegalStateException(e);
        } finally {
            spark.clearJobGroup();
        }
    }

    /** Spark's message has the failure of the last attempt in its second line. */
    private static String lastFailure(Exception e) {
        List<String> lines = String.valueOf(e.getMessage()).lines().toList();
        return lines.size() > 1 ? lines.get(0) + " " + lines.get(1) : lines.isEmpty() ? e.toString() : lines.get(0);
    }

    /** A failure has to reach Spark for it to start the stage again. */
    private static final class Throwing implements Function1<Iterator<Integer>, Iterator<RankReport>>, Serializable {
        private static final long serialVersionUID = 1;

        private final RankTask task;

        Throwing(RankTask task) {
            this.task = task;
        }

        @Override
        public Iterator<RankReport> apply(Iterator<Integer> unused) {
            Iterator<RankReport> reports = task.apply(unused);
            RankReport report = reports.next();
            if (report.failure() != null) {
                throw new TrainingException(
                        TrainingException.Code.TRAIN_RANK_FAILED,
                        "rank " + report.rank() + " on " + report.host() + " failed: "
                                + FailureReason.of(report.failure()),
                        report.failure());
            }
            return scala.jdk.javaapi.CollectionConverters.asScala(
                    List.of(report).iterator());
        }
    }
}
