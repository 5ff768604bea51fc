package io.fourfold.spark;

import io.fourfold.checkpoint.RunStorage;
import io.fourfold.config.ConfigLoader;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.BatchReader;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.CommunicationWorld;
import io.fourfold.kernels.comm.InProcessWorld;
import io.fourfold.kernels.comm.TcpEndpoint;
import io.fourfold.kernels.comm.TcpWorld;
import io.fourfold.metrics.MetricsSink;
import io.fourfold.metrics.Sinks;
import io.fourfold.spark.watch.RunFiles;
import io.fourfold.spark.watch.WatchExecutor;
import io.fourfold.train.RunIdentity;
import io.fourfold.train.TrainResult;
import io.fourfold.train.Trainer;
import io.fourfold.train.TrainerInputs;
import io.fourfold.train.TrainingException;
import java.io.IOException;
import java.io.Serializable;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.UnknownHostException;
import java.security.SecureRandom;
import java.time.Duration;
import java.util.HexFormat;
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
 * @param runId unique for this attempt; ranks of one JVM meet under it, ranks of several over TCP
 * @param configYaml the resolved configuration
 */
record RankTask(String runId, String configYaml, RunIdentity identity, double flopsPerToken, RankSetup setup)
        implements Function1<Iterator<Integer>, Iterator<RankReport>>, Serializable {
    private static final long serialVersionUID = 1;

    /** Identity of this process. */
    private static final String JVM = UUID.randomUUID().toString();

    /** How long ranks in other processes may take from the rendezvous to the connection. */
    private static final Duration START_TIMEOUT = Duration.ofMinutes(2);

    private static final int SECRET_BYTES = 32;

    @Override
    public Iterator<RankReport> apply(Iterator<Integer> unused) {
        BarrierTaskContext task = BarrierTaskContext.get();
        int partition = task.partitionId();
        String host = host();
        try (TcpEndpoint endpoint = endpoint()) {
            String[] messages = task.allGather(member(host, partition, endpoint).toJson());
            return CollectionConverters.asScala(
                    List.of(run(host, partition, endpoint, messages)).iterator());
        } catch (IOException e) {
            throw new UncheckedIOException("closing the endpoint of partition " + partition, e);
        }
    }

    private RankReport run(String host, int partition, TcpEndpoint endpoint, String[] messages) {
        int rank = partition;
        try {
            Gang gang = Gang.of(messages);
            rank = gang.rank(partition);
            return RankReport.success(rank, host, train(gang, rank, endpoint));
        } catch (RuntimeException | Error e) {
            return RankReport.failed(rank, host, e);
        }
    }

    private TrainResult train(Gang gang, int rank, TcpEndpoint endpoint) {
        try (CommunicationWorld world = world(gang, rank, endpoint)) {
            try {
                return train(world);
            } catch (RuntimeException | Error e) {
                // Also what fails before the trainer runs must not leave the others waiting.
                world.abort("rank " + rank + " failed: " + e);
                if (world instanceof TcpWorld tcp) {
                    writeTrace(tcp, e);
                }
                throw e;
            }
        }
    }

    private CommunicationWorld world(Gang gang, int rank, TcpEndpoint endpoint) {
        if (gang.isOneJvm()) {
            return InProcessWorld.join(runId, rank, gang.members().size());
        }
        return TcpWorld.connect(
                endpoint, rank, gang.addresses(), gang.secret(), START_TIMEOUT, InProcessWorld.DEFAULT_TIMEOUT);
    }

    /** Leaves the last collectives of this rank in the run folder: side by side, ranks show who waited for whom. */
    private void writeTrace(TcpWorld world, Throwable failure) {
        String file = "failures/%s/rank-%05d.txt".formatted(runId, world.rank());
        try {
            storage(ConfigLoader.parse("config.yaml", configYaml).config())
                    .writeText(file, failure + "\n" + String.join("\n", world.lastOperations()) + "\n");
        } catch (IOException | RuntimeException e) {
            // Of two troubles the first one matters.
            failure.addSuppressed(e);
        }
    }

    private static TcpEndpoint endpoint() {
        // Not the machine's name: Spark may have been told another address for executors to reach each other.
        String address = SparkEnv.get().blockManager().blockManagerId().host();
        try {
            return TcpEndpoint.open(address);
        } catch (IOException e) {
            throw new TrainingException(
                    TrainingException.Code.TRAIN_LAUNCH,
                    "cannot listen on " + address + " for other ranks: " + e
                            + ". Check SPARK_LOCAL_IP and the name resolution of this machine",
                    e);
        }
    }

    private TrainResult train(CommunicationWorld world) {
        FourfoldConfig config = ConfigLoader.parse("config.yaml", configYaml).config();
        try (Backend backend = setup.backend(config);
                BatchReader train = setup.train(config, identity);
                BatchReader validation = setup.validation(config, identity);
                MetricsSink sink = sink(config, world.rank())) {
            TrainerInputs inputs = new TrainerInputs(
                    config,
                    backend,
                    backend.communicating(world),
                    train,
                    validation,
                    sink,
                    storage(config),
                    identity,
                    flopsPerToken);
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

    /** To the driver where it watches; else rank 0 writes the files. */
    private MetricsSink sink(FourfoldConfig config, int rank) {
        return WatchExecutor.sink(runId, rank, host())
                .orElseGet(() -> rank == 0 ? RunFiles.open(config.run(), storage(config)) : Sinks.none());
    }

    private Gang.Member member(String host, int partition, TcpEndpoint endpoint) {
        byte[] secret = new byte[SECRET_BYTES];
        new SecureRandom().nextBytes(secret);
        InetSocketAddress address = endpoint.address();
        return new Gang.Member(
                host,
                -1,
                SparkEnv.get().executorId(),
                JVM,
                partition,
                address.getHostString(),
                address.getPort(),
                HexFormat.of().formatHex(secret),
                GangFacts.of(identity));
    }

    private static String host() {
        try {
            return InetAddress.getLocalHost().getHostName();
        } catch (UnknownHostException e) {
            return SparkEnv.get().blockManager().blockManagerId().host();
        }
    }
}
