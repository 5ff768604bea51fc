package io.fourfold.spark;

import io.fourfold.checkpoint.RunStorage;
import io.fourfold.config.ConfigLoader;
import io.fourfold.config.FailureReason;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.TimeoutConfig;
import io.fourfold.data.BatchReader;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.CommunicationException;
import io.fourfold.kernels.comm.CommunicationWorld;
import io.fourfold.kernels.comm.InProcessWorld;
import io.fourfold.kernels.comm.TcpEndpoint;
import io.fourfold.kernels.comm.TcpWorld;
import io.fourfold.kernels.comm.WatchableWorld;
import io.fourfold.metrics.MetricsSink;
import io.fourfold.metrics.Sinks;
import io.fourfold.spark.watch.RunFiles;
import io.fourfold.spark.watch.WatchExecutor;
import io.fourfold.train.RunIdentity;
import io.fourfold.train.TrainResult;
import io.fourfold.train.Trainer;
import io.fourfold.train.TrainerInputs;
import io.fourfold.train.TrainingException;
import io.fourfold.train.fault.FaultInjector;
import io.fourfold.train.fault.InjectedFault;
import io.fourfold.train.restart.Attempt;
import io.fourfold.train.restart.SmallerWorld;
import java.io.IOException;
import java.io.Serializable;
import java.io.UncheckedIOException;
import java.time.Duration;
import java.util.List;
import org.apache.hadoop.conf.Configuration;
import org.apache.spark.BarrierTaskContext;
import org.apache.spark.SparkEnv;
import org.apache.spark.deploy.SparkHadoopUtil;
import org.jspecify.annotations.Nullable;
import scala.Function1;
import scala.collection.Iterator;
import scala.jdk.javaapi.CollectionConverters;

/**
 * What a barrier task does: meet the others, learn its rank, train. One {@code allGather} is the whole rendezvous, for
 * each call costs about a second.
 *
 * @param runId unique for this attempt; ranks of one JVM meet under it, ranks of several over TCP
 * @param configYaml the resolved configuration of the run
 * @param attempt which of the run's attempts this gang is
 */
record RankTask(
        String runId, String configYaml, Attempt attempt, RunIdentity identity, double flopsPerToken, RankSetup setup)
        implements Function1<Iterator<Integer>, Iterator<RankReport>>, Serializable {
    private static final long serialVersionUID = 1;

    /** What healthy ranks give the others to end after a failure, before they leave it to Spark to end them. */
    private static final Duration DEPARTURE = Duration.ofSeconds(10);

    /** Spark's name for the driver as an executor. */
    private static final String DRIVER = "driver";

    /** What the system reports of a process that called abort(). */
    private static final int CRASH_STATUS = 134;

    @Override
    public Iterator<RankReport> apply(Iterator<Integer> unused) {
        BarrierTaskContext task = BarrierTaskContext.get();
        int reruns = task.stageAttemptNumber();
        return reruns == 0 ? meet(task) : rerun(reruns).meet(task);
    }

    /** This task when Spark itself started the stage again. */
    private RankTask rerun(int reruns) {
        Attempt again = new Attempt(
                attempt.number() + reruns,
                attempt.worldSize(),
                attempt.leftOutHosts(),
                "a task failed and Spark started the stage again");
        return new RankTask(runId + "." + reruns, configYaml, again, identity, flopsPerToken, setup);
    }

    private Iterator<RankReport> meet(BarrierTaskContext task) {
        FourfoldConfig config = config();
        Rendezvous rendezvous = Rendezvous.open(task, config);
        try (TcpEndpoint endpoint = rendezvous.endpoint()) {
            String[] messages =
                    task.allGather(rendezvous.member(setup, config, identity).toJson());
            return CollectionConverters.asScala(
                    List.of(run(rendezvous, config, messages)).iterator());
        } catch (IOException e) {
            throw new UncheckedIOException(
                    "closing the endpoint of partition " + rendezvous.task().partitionId(), e);
        }
    }

    private RankReport run(Rendezvous rendezvous, FourfoldConfig config, String[] messages) {
        int rank = rendezvous.task().partitionId();
        try {
            Gang gang = Gang.of(messages, attempt.leftOutHosts(), attempt.worldSize());
            rank = gang.rank(rank);
            if (rank < 0) {
                return RankReport.spare(rendezvous.host());
            }
            return RankReport.success(rank, rendezvous.host(), train(gang, rank, rendezvous, config));
        } catch (StuckRanks e) {
            // As a failed task, for the reports of those ranks would never come.
            throw new TrainingException(TrainingException.Code.TRAIN_RANK_LOST, String.valueOf(e.getMessage()), e);
        } catch (RuntimeException | Error e) {
            return RankReport.failed(rank, rendezvous.host(), e);
        }
    }

    private TrainResult train(Gang gang, int rank, Rendezvous rendezvous, FourfoldConfig config) {
        try (WatchableWorld world = world(gang, rank, rendezvous.endpoint(), config)) {
            RankDump dump = new RankDump(runId, rendezvous.host(), world, () -> storage(config));
            RankWatchdog watchdog = new RankWatchdog(
                    world, rendezvous.host(), config.run().timeouts().step(), rendezvous.task()::isInterrupted, dump);
            try (watchdog) {
                return train(world, config, rendezvous);
            } catch (RuntimeException | Error e) {
                // Also what fails before the trainer runs must not leave the others waiting.
                world.abort("rank " + rank + " failed: " + FailureReason.of(e));
                watchdog.close();
                dump.write(e.toString(), e.getStackTrace());
                RuntimeException meaning = meaning(e, world, watchdog);
                StuckRanks.check(world, DEPARTURE);
                if (meaning != null) {
                    throw meaning;
                }
                throw e;
            }
        }
    }

    /** What a failure means that came of the watchdog's interrupt; null when it speaks for itself. */
    private static @Nullable RuntimeException meaning(Throwable e, WatchableWorld world, RankWatchdog watchdog) {
        String verdict = watchdog.verdict();
        if (verdict != null) {
            return new TrainingException(TrainingException.Code.TRAIN_RANK_FAILED, verdict, e);
        }
        return watchdog.hasInterrupted()
                ? new CommunicationException("rank " + world.rank() + " was stopped: " + world.abortReason(), e)
                : null;
    }

    private WatchableWorld world(Gang gang, int rank, TcpEndpoint endpoint, FourfoldConfig config) {
        TimeoutConfig timeouts = config.run().timeouts();
        if (gang.isOneJvm()) {
            return InProcessWorld.join(runId, rank, gang.members().size(), timeouts.step());
        }
        return TcpWorld.connect(endpoint, rank, gang.addresses(), gang.secret(), timeouts.start(), timeouts.step());
    }

    private TrainResult train(CommunicationWorld world, FourfoldConfig config, Rendezvous rendezvous) {
        RunStorage run = storage(config);
        FaultInjector faults = FaultInjector.of(config, world.rank(), run, RankTask::crash);
        try (Backend backend = setup.backend(config, rendezvous.device());
                BatchReader train =
                        faults.reader(setup.train(config, identity), () -> setup.truncated(config, identity));
                BatchReader validation = setup.validation(config, identity);
                MetricsSink sink = sink(config, world.rank(), rendezvous.host())) {
            CommunicationWorld ranks = backend.communicating(world);
            try {
                TrainerInputs inputs = new TrainerInputs(
                        config, backend, ranks, train, validation, sink, faults.storage(run), identity, flopsPerToken);
                return new Trainer(inputs, faults.model(setup.model())).run();
            } finally {
                if (ranks != world) {
                    ranks.close(); // while the backend is there; the given world is the caller's
                }
            }
        }
    }

    /** The run's configuration as this attempt needs it. */
    private FourfoldConfig config() {
        return SmallerWorld.of(ConfigLoader.parse("config.yaml", configYaml).config(), attempt);
    }

    /** Ends an executor as a native crash would; the driver's own process, where all ranks may live, goes on. */
    private static void crash(String reason) {
        if (SparkEnv.get().executorId().equals(DRIVER)) {
            throw new InjectedFault(reason);
        }
        Runtime.getRuntime().halt(CRASH_STATUS);
    }

    private static RunStorage storage(FourfoldConfig config) {
        Configuration hadoop = SparkHadoopUtil.get().conf();
        try {
            return RunFolders.open(config.run().dir(), hadoop);
        } catch (IOException e) {
            throw new TrainingException(
                    TrainingException.Code.TRAIN_SETUP,
                    "cannot open the run folder " + config.run().dir() + ": " + FailureReason.of(e),
                    e);
        }
    }

    /** To the driver where it watches; else rank 0 writes the files. */
    private MetricsSink sink(FourfoldConfig config, int rank, String host) {
        return WatchExecutor.sink(runId, rank, host)
                .orElseGet(() -> rank == 0 ? RunFiles.open(config.run(), storage(config)) : Sinks.none());
    }
}
