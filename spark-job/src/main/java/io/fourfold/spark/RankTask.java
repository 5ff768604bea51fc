package io.fourfold.spark;

import io.fourfold.checkpoint.RunStorage;
import io.fourfold.config.ConfigLoader;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.BatchReader;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.CommunicationWorld;
import io.fourfold.kernels.comm.InProcessWorld;
import io.fourfold.metrics.MetricsSink;
import io.fourfold.metrics.Sinks;
import io.fourfold.train.RunIdentity;
import io.fourfold.train.TrainResult;
import io.fourfold.train.Trainer;
import io.fourfold.train.TrainerInputs;
import io.fourfold.train.TrainingException;
import java.io.IOException;
import java.io.Serializable;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.nio.file.Path;
import java.util.List;
import java.util.UUID;
import org.apache.hadoop.conf.Configuration;
import org.apache.spark.BarrierTaskContext;
import org.apache.spark.SparkEnv;
import org.apache.spark.deploy.SparkHadoopUtil;
import scala.Function1;
import scala.collection.Iterator;
import scala.jdk.javaapi.CollectionConverters;

/**
 * What a barrier task does: meet the others, learn its rank, train. One {@code allGather} is the whole rendezvous, for
 * each call costs about a second.
 *
 * @param runId unique for this attempt; ranks of one JVM meet under it
 * @param configYaml the resolved configuration
 */
record RankTask(String runId, String configYaml, RunIdentity identity, double flopsPerToken, RankSetup setup)
        implements Function1<Iterator<Integer>, Iterator<RankReport>>, Serializable {
    private static final long serialVersionUID = 1;

    /** Identity of this process. */
    private static final String JVM = UUID.randomUUID().toString();

    @Override
    public Iterator<RankReport> apply(Iterator<Integer> unused) {
        BarrierTaskContext task = BarrierTaskContext.get();
        int partition = task.partitionId();
        String host = host();
        String[] messages = task.allGather(member(host, partition).toJson());
        return CollectionConverters.asScala(
                List.of(run(host, partition, messages)).iterator());
    }

    private RankReport run(String host, int partition, String[] messages) {
        int rank = partition;
        try {
            Gang gang = Gang.of(messages);
            rank = gang.rank(partition);
            gang.requireOneJvm();
            return RankReport.success(rank, host, train(rank, gang.members().size()));
        } catch (RuntimeException | Error e) {
            return RankReport.failed(rank, host, e);
        }
    }

    private TrainResult train(int rank, int ranks) {
        try (CommunicationWorld world = InProcessWorld.join(runId, rank, ranks)) {
            try {
                return train(world);
            } catch (RuntimeException | Error e) {
                // Also what fails before the trainer runs must not leave the others waiting.
                world.abort("rank " + rank + " failed: " + e);
                throw e;
            }
        }
    }

    private TrainResult train(CommunicationWorld world) {
        FourfoldConfig config = ConfigLoader.parse("config.yaml", configYaml).config();
        try (Backend backend = setup.backend(config);
                BatchReader train = setup.train(config, identity);
                BatchReader validation = setup.validation(config, identity);
                MetricsSink sink = world.rank() == 0 ? sink(config) : Sinks.none()) {
            TrainerInputs inputs = new TrainerInputs(
                    config, backend, world, train, validation, sink, storage(config), identity, flopsPerToken);
            return new Trainer(inputs, setup.model()).run();
        }
    }

    private static RunStorage storage(FourfoldConfig config) {
        Configuration hadoop = SparkHadoopUtil.get().conf();
        try {
            return RunFolders.open(config.run().dir(), hadoop);
        } catch (IOException e) {
            throw new TrainingException(
                    TrainingException.Code.TRAIN_SETUP,
                    "cannot open the run folder " + config.run().dir() + ": " + e,
                    e);
        }
    }

    private static MetricsSink sink(FourfoldConfig config) {
        Path folder = RunFolders.localPath(config.run().dir())
                .orElseGet(() -> Path.of(
                        System.getProperty("java.io.tmpdir"),
                        "fourfold-" + config.run().name()));
        return Sinks.open(folder, config.run().logEvery(), config.run().tensorboard());
    }

    private Gang.Member member(String host, int partition) {
        return new Gang.Member(
                host, -1, SparkEnv.get().executorId(), JVM, partition, identity.configHash(), Version.current());
    }

    private static String host() {
        try {
            return InetAddress.getLocalHost().getHostName();
        } catch (UnknownHostException e) {
            return SparkEnv.get().blockManager().blockManagerId().host();
        }
    }
}
