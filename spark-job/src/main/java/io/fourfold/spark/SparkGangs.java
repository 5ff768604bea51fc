package io.fourfold.spark;

import io.fourfold.checkpoint.CheckpointStore;
import io.fourfold.checkpoint.RunStorage;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.spark.watch.RunWatch;
import io.fourfold.train.TrainResult;
import io.fourfold.train.restart.Attempt;
import io.fourfold.train.restart.AttemptException;
import io.fourfold.train.restart.Gangs;
import java.util.Collection;
import java.util.List;
import java.util.OptionalInt;
import java.util.function.Function;
import org.apache.spark.SparkContext;

/** Gangs as Spark jobs, each with a run id of its own. */
final class SparkGangs implements Gangs {
    /** How often executors may come while a gang without some hosts is being started. */
    private static final int MOST_TRIES = 5;

    private final SparkContext spark;
    private final FourfoldConfig config;
    private final RunStorage folder;
    private final RunWatch watch;
    private final Function<Attempt, RankTask> tasks;

    /**
     * @param folder the run folder
     * @param watch told of each gang
     * @param tasks makes the task of an attempt
     */
    SparkGangs(
            SparkContext spark,
            FourfoldConfig config,
            RunStorage folder,
            RunWatch watch,
            Function<Attempt, RankTask> tasks) {
        this.spark = spark;
        this.config = config;
        this.folder = folder;
        this.watch = watch;
        this.tasks = tasks;
    }

    @Override
    public TrainResult launch(Attempt attempt) throws AttemptException {
        for (int tries = 1; ; tries++) {
            // Spark places tasks where it likes. To keep off some hosts, all slots get a task and those there go home.
            int slots = attempt.leftOutHosts().isEmpty() ? attempt.worldSize() : slots(List.of());
            RankTask task = tasks.apply(attempt);
            watch.attempt(task.runId());
            try {
                return new GangRun(spark, task, slots, config.run().name()).run();
            } catch (AttemptException e) {
                if (tries == MOST_TRIES || !(e.error().getCause() instanceof HostsNotLeftOut)) {
                    throw e;
                }
            }
        }
    }

    /** One gang that Spark itself starts again when a task fails. */
    TrainResult rerunBySpark() {
        int ranks = config.parallel().worldSize();
        RankTask task = tasks.apply(Attempt.first(ranks));
        watch.attempt(task.runId());
        return StageRetry.run(spark, task, ranks, config.run().name());
    }

    @Override
    public int slots(Collection<String> leftOutHosts) {
        return Slots.outside(spark, config, leftOutHosts);
    }

    @Override
    public OptionalInt lastStep() {
        return watch.lastStep();
    }

    @Override
    public int newestCheckpoint() {
        List<Integer> steps = new CheckpointStore(folder).steps();
        return steps.isEmpty() ? 0 : steps.get(steps.size() - 1);
    }
}
