package io.fourfold.spark;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.RunConfig.BackendKind;
import io.fourfold.kernels.comm.TcpEndpoint;
import io.fourfold.train.RunIdentity;
import io.fourfold.train.TrainingException;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.UnknownHostException;
import java.security.SecureRandom;
import java.util.HexFormat;
import java.util.UUID;
import org.apache.spark.BarrierTaskContext;
import org.apache.spark.SparkEnv;

/**
 * This task's part of the meeting of all ranks.
 *
 * @param host name of the machine
 * @param device index of the task's GPU, or {@link AssignedGpu#NONE}
 * @param endpoint where other ranks can reach it
 */
record Rendezvous(BarrierTaskContext task, String host, int device, TcpEndpoint endpoint) {
    /** Identity of this process. */
    private static final String JVM = UUID.randomUUID().toString();

    private static final int SECRET_BYTES = 32;

    static Rendezvous open(BarrierTaskContext task, FourfoldConfig config) {
        return new Rendezvous(task, hostName(), device(task, config.run().backend()), endpointOfExecutor());
    }

    /** In one JVM there is no scheduling of GPUs: the tasks take them in order. */
    private static int device(BarrierTaskContext task, BackendKind backend) {
        if (backend == BackendKind.CPU) {
            return AssignedGpu.NONE;
        }
        int assigned = AssignedGpu.index(task.resourcesJMap(), System.getenv("CUDA_VISIBLE_DEVICES"));
        boolean local = Masters.isLocal(SparkEnv.get().conf().get("spark.master", ""));
        return assigned == AssignedGpu.NONE && local ? task.partitionId() : assigned;
    }

    /** What this task tells all others. What is wrong here travels, too, so that every rank and the driver can name it. */
    Gang.Member member(RankSetup setup, FourfoldConfig config, RunIdentity identity) {
        Accelerator accelerator = Accelerator.processor();
        String problem = "";
        try {
            accelerator = setup.accelerator(config, device);
        } catch (RuntimeException | LinkageError e) {
            problem = String.valueOf(e.getMessage());
        }
        byte[] secret = new byte[SECRET_BYTES];
        new SecureRandom().nextBytes(secret);
        InetSocketAddress address = endpoint.address();
        return new Gang.Member(
                host,
                device,
                accelerator.id(),
                SparkEnv.get().executorId(),
                JVM,
                task.partitionId(),
                address.getHostString(),
                address.getPort(),
                HexFormat.of().formatHex(secret),
                GangFacts.of(identity, accelerator),
                problem);
    }

    private static TcpEndpoint endpointOfExecutor() {
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

    private static String hostName() {
        try {
            return InetAddress.getLocalHost().getHostName();
        } catch (UnknownHostException e) {
            return SparkEnv.get().blockManager().blockManagerId().host();
        }
    }
}
