package io.fourfold.kernels.comm;

import io.fourfold.kernels.cpu.CpuTensor;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Random;

/** Rank 1 in a JVM of its own. */
final class PeerProcess implements AutoCloseable {
    private final Process process;
    private final TcpWorld world;

    private PeerProcess(Process process, TcpWorld world) {
        this.process = process;
        this.world = world;
    }

    /**
     * Starts the process and meets it.
     *
     * @param task what it does: {@code sum}, {@code hang} or {@code repeat}
     */
    static PeerProcess start(String task) throws IOException {
        TcpEndpoint endpoint = TcpEndpoint.open("127.0.0.1");
        Process process = new ProcessBuilder(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "-XX:+UseSerialGC",
                        "-cp",
                        System.getProperty("java.class.path"),
                        PeerProcess.class.getName(),
                        Integer.toString(endpoint.address().getPort()),
                        task)
                .redirectError(new File("target/peer-" + task + ".log"))
                .start();
        BufferedReader out =
                new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8));
        int port = Integer.parseInt(out.readLine());
        List<InetSocketAddress> addresses =
                List.of(endpoint.address(), InetSocketAddress.createUnresolved("127.0.0.1", port));
        return new PeerProcess(process, connect(endpoint, 0, addresses));
    }

    TcpWorld world() {
        return world;
    }

    Process process() {
        return process;
    }

    @Override
    public void close() {
        world.close();
        process.destroyForcibly();
    }

    private static TcpWorld connect(TcpEndpoint endpoint, int rank, List<InetSocketAddress> addresses) {
        return TcpWorld.connect(
                endpoint, rank, addresses, TcpWorlds.SECRET, Duration.ofSeconds(20), Duration.ofSeconds(20));
    }

    /** The values of a rank, the same in every process. */
    static CpuTensor values(int rank, int length) {
        Random random = new Random(rank);
        float[] values = new float[length];
        for (int i = 0; i < length; i++) {
            values[i] = (float) random.nextGaussian();
        }
        return CpuTensor.ofFloats(DType.FP32, values, Shape.of(length));
    }

    public static void main(String[] args) throws Exception {
        TcpEndpoint endpoint = TcpEndpoint.open("127.0.0.1");
        System.out.println(endpoint.address().getPort());
        List<InetSocketAddress> addresses =
                List.of(InetSocketAddress.createUnresolved("127.0.0.1", Integer.parseInt(args[0])), endpoint.address());
        try (TcpWorld world = connect(endpoint, 1, addresses)) {
            Communicator group = world.group("dp", List.of(0, 1));
            switch (args[1]) {
                case "sum" -> group.allReduce(values(1, 100_000), ReduceOp.SUM);
                case "hang" -> {
                    group.barrier();
                    Thread.sleep(60_000);
                }
                case "repeat" -> {
                    CpuTensor big = values(1, 8 << 20);
                    while (true) {
                        group.allReduce(big, ReduceOp.SUM);
                    }
                }
                default -> throw new IllegalArgumentException(args[1]);
            }
        }
    }
}
