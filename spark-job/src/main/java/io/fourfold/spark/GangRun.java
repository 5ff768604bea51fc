package io.fourfold.spark;

import io.fourfold.train.TrainResult;
import io.fourfold.train.restart.AttemptException;
import java.io.Serializable;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.stream.IntStream;
import org.apache.spark.SparkContext;
import org.apache.spark.SparkException;
import org.apache.spark.TaskContext;
import org.apache.spark.api.java.JavaSparkContext;
import org.apache.spark.rdd.RDD;
import scala.Function2;
import scala.collection.Iterator;
import scala.jdk.javaapi.CollectionConverters;
import scala.reflect.ClassTag;
import scala.reflect.ClassTag$;
import scala.runtime.BoxedUnit;

/**
 * One gang: a barrier stage whose tasks report as they end. What ranks could report is known also when Spark then aborts the
 * stage, because an executor was lost or a rank does not end.
 */
final class GangRun {
    private final SparkContext spark;
    private final RankTask task;
    private final int tasks;
    private final String name;
    private final Map<Integer, RankReport> reports = new ConcurrentSkipListMap<>();

    /**
     * @param tasks barrier tasks to start: the ranks, or more when hosts are left out
     * @param name of the run
     */
    GangRun(SparkContext spark, RankTask task, int tasks, String name) {
        this.spark = spark;
        this.task = task;
        this.tasks = tasks;
        this.name = name;
    }

    /** Waits for the end. */
    TrainResult run() throws AttemptException {
        GangTasks places = new GangTasks();
        spark.addSparkListener(places);
        // A cancelled job then interrupts its tasks, so that ranks that wait for each other end at once.
        spark.setJobGroup(task.runId(), "train " + name, true);
        Exception aborted = null;
        try {
            runJob();
        } catch (Exception e) {
            // Spark throws its checked SparkException through Scala without declaring it.
            if (!(e instanceof SparkException || e instanceof RuntimeException)) {
                throw new IllegalStateException(e);
            }
            aborted = e;
        } finally {
            spark.clearJobGroup();
            spark.removeSparkListener(places);
        }
        Map<Integer, RankReport> byPartition = new TreeMap<>(reports);
        if (aborted != null || byPartition.values().stream().anyMatch(report -> report.failure() != null)) {
            throw GangFailure.of(byPartition, tasks, places, aborted);
        }
        return Objects.requireNonNull(byPartition.values().stream()
                .filter(report -> report.rank() == 0)
                .findFirst()
                .orElseThrow()
                .result());
    }

    private void runJob() {
        List<Integer> numbers = IntStream.range(0, tasks).boxed().toList();
        RDD<Integer> rdd = JavaSparkContext.fromSparkContext(spark)
                .parallelize(numbers, tasks)
                .rdd();
        ClassTag<RankReport> tag = ClassTag$.MODULE$.apply(RankReport.class);
        // Not mapPartitionsWithEvaluator: in Spark 4.2.0 its result is no barrier stage.
        RDD<RankReport> gang =
                GangResources.ask(rdd, task.configYaml()).barrier().mapPartitions(task, false, tag);
        Function2<Object, RankReport, BoxedUnit> handler = (partition, report) -> {
            reports.put((Integer) partition, report);
            return BoxedUnit.UNIT;
        };
        List<Object> partitions =
                IntStream.range(0, tasks).<Object>mapToObj(i -> i).toList();
        spark.runJob(
                gang,
                new First(),
                CollectionConverters.asScala(partitions).toSeq(),
                handler,
                ClassTag$.MODULE$.apply(RankReport.class));
    }

    /** The one report of a task. */
    private static final class First implements Function2<TaskContext, Iterator<RankReport>, RankReport>, Serializable {
        private static final long serialVersionUID = 1;

        @Override
        public RankReport apply(TaskContext context, Iterator<RankReport> reports) {
            return reports.next();
        }
    }
}
