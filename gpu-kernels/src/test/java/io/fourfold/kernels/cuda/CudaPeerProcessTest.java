package io.fourfold.kernels.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.kernels.comm.CommunicationException;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.comm.Pending;
import io.fourfold.kernels.comm.ReduceOp;
import io.fourfold.kernels.comm.TcpEndpoint;
import io.fourfold.kernels.comm.TcpWorld;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Two processes with a GPU each, as Spark's executors are: the second one is this class's {@code main}. */
@Tag("gpu")
@Timeout(60)
class CudaPeerProcessTest {
    private static final byte[] SECRET = "a secret of this test".getBytes(StandardCharsets.UTF_8);
    private static final Duration PATIENCE = Duration.ofSeconds(30);
    private static final int ROUNDS = 6;

    @BeforeEach
    void needTwo() {
        String reason = CudaDevice.unavailableBecause();
        Assumptions.assumeTrue(reason == null, reason);
        int count = CudaDevice.count();
        Assumptions.assumeTrue(count > 1, "two processes need a GPU each, this one sees " + count);
    }

    @Test
    void processesCopyToEachOther() throws Exception {
        try (Peer peer = Peer.start("exchange")) {
            exchange(peer.world());
            assertThat(peer.process().waitFor(20, TimeUnit.SECONDS)).isTrue();
            assertThat(peer.process().exitValue()).isZero();
        }
    }

    @Test
    void aKilledProcessDoesNotHoldUpTheOther() throws Exception {
        try (Peer peer = Peer.start("hang");
                CudaBackend backend = new CudaBackend(0);
                NcclWorld world = new NcclWorld(backend.runtime(), peer.world());
                TensorScope scope = backend.scope(Region.WORKSPACE)) {
            Communicator group = world.group("ep", List.of(0, 1));
            Tensor values = scope.zeros(DType.FP32, 1 << 20);
            Tensor received = scope.zeros(DType.FP32, 1 << 20);
            long[] halves = {1 << 19, 1 << 19};
            group.allToAllV(values, halves, received, halves);
            backend.download(received);
            peer.process().destroyForcibly();
            assertThatThrownBy(() -> {
                        group.allToAllV(values, halves, received, halves);
                        backend.download(received);
                        group.allToAllV(values, halves, received, halves);
                    })
                    .isInstanceOf(CommunicationException.class)
                    .hasMessageContaining("world rank 1");
        }
    }

    /** Element i of what a rank sends to another one in a round; exact in BF16. */
    private static float value(int from, int to, int round, int i) {
        return (i * 7 + from * 31 + to * 17 + round * 5) % 251;
    }

    private static void exchange(TcpWorld host) {
        int rank = host.rank();
        try (CudaBackend backend = new CudaBackend(rank);
                NcclWorld world = new NcclWorld(backend.runtime(), host)) {
            Communicator group = world.group("ep", List.of(0, 1));
            for (int round = 0; round < ROUNDS; round++) {
                try (TensorScope scope = backend.scope(Region.WORKSPACE)) {
                    // Uneven both ways; the last round's are so small that they go another way.
                    int unit = round == ROUNDS - 1 ? 1000 : 1 << 20;
                    long[] out = {unit + rank * 3L, 2L * unit + round};
                    long[] in = rank == 0
                            ? new long[] {unit, unit + 3L}
                            : new long[] {2L * unit + round, 2L * unit + round};
                    Tensor received = scope.allocate(DType.BF16, Shape.flat(in[0] + in[1]));
                    Tensor sent = scope.allocate(DType.BF16, Shape.flat(out[0] + out[1]));
                    backend.upload(values(rank, out, round), sent);
                    Pending pending = group.startAllToAllV(sent, out, received, in);
                    try (TensorScope work = backend.scope(Region.WORKSPACE)) {
                        backend.elementwise().fill(work.allocate(DType.FP32, 1 << 22), Float.NaN);
                    }
                    pending.await();
                    check(backend.download(received), rank, in, round);
                    sum(backend, group, scope, rank);
                }
            }
            assertThat(world.peers(host.group("peers", List.of(0, 1)), List.of(0, 1), NcclSide.BESIDE))
                    .as("the GPUs' copy engines reach the other process")
                    .isNotNull();
            time(backend, group);
            group.barrier();
        }
    }

    private static float[] values(int rank, long[] counts, int round) {
        float[] values = new float[(int) (counts[0] + counts[1])];
        for (int i = 0; i < values.length; i++) {
            boolean first = i < counts[0];
            values[i] = value(rank, first ? 0 : 1, round, first ? i : i - (int) counts[0]);
        }
        return values;
    }

    private static void check(float[] actual, int rank, long[] counts, int round) {
        for (int i = 0; i < actual.length; i++) {
            boolean first = i < counts[0];
            float expected = value(first ? 0 : 1, rank, round, first ? i : i - (int) counts[0]);
            if (actual[i] != expected) {
                throw new AssertionError("rank " + rank + ", round " + round + ", element " + i + ": expected "
                        + expected + ", got " + actual[i]);
            }
        }
    }

    private static void sum(CudaBackend backend, Communicator group, TensorScope scope, int rank) {
        int part = 1 << 19;
        Tensor addends = scope.allocate(DType.BF16, 2 * part);
        Tensor total = scope.allocate(DType.BF16, part);
        backend.elementwise().fill(addends, rank + 1.5f);
        group.reduceScatter(addends, total, ReduceOp.SUM);
        assertThat(backend.download(total.view(part - 2, Shape.of(2)))).containsExactly(4f, 4f);
    }

    private static void time(CudaBackend backend, Communicator group) {
        int half = 32 << 20; // elements; 64 MiB each way
        long[] counts = {half, half};
        try (TensorScope scope = backend.scope(Region.WORKSPACE)) {
            Tensor sent = scope.zeros(DType.BF16, 2 * half);
            Tensor received = scope.zeros(DType.BF16, 2 * half);
            CudaTimer timer = new CudaTimer(backend.runtime().device());
            Runnable work = () ->
                    group.startAllToOthersV(sent, counts, received, counts).await();
            timer.milliseconds(3, work);
            group.barrier();
            double[] times = timer.milliseconds(20, work);
            java.util.Arrays.sort(times);
            if (group.rank() == 0) {
                System.out.printf(
                        "two processes, 64 MiB each way: %.3f ms, %.0f GB/s%n", times[10], 2e-6 * half / times[10]);
                System.out.flush();
            }
        }
    }

    /** Rank 1 in a process of its own. */
    private record Peer(Process process, TcpWorld world) implements AutoCloseable {
        static Peer start(String task) throws IOException {
            TcpEndpoint endpoint = TcpEndpoint.open("127.0.0.1");
            Process process = new ProcessBuilder(
                            Path.of(System.getProperty("java.home"), "bin", "java")
                                    .toString(),
                            "-Xmx2g",
                            "-cp",
                            System.getProperty("java.class.path"),
                            CudaPeerProcessTest.class.getName(),
                            Integer.toString(endpoint.address().getPort()),
                            task)
                    .redirectError(File.createTempFile("fourfold-peer", ".log"))
                    .start();
            BufferedReader out =
                    new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8));
            String port = out.readLine();
            List<InetSocketAddress> addresses = List.of(
                    endpoint.address(), InetSocketAddress.createUnresolved("127.0.0.1", Integer.parseInt(port)));
            return new Peer(process, TcpWorld.connect(endpoint, 0, addresses, SECRET, PATIENCE, PATIENCE));
        }

        @Override
        public void close() {
            world.close();
            process.destroyForcibly();
        }
    }

    /** The second process: the first one's port, and what to do. */
    public static void main(String[] arguments) throws Exception {
        TcpEndpoint endpoint = TcpEndpoint.open("127.0.0.1");
        System.out.println(endpoint.address().getPort());
        List<InetSocketAddress> addresses = List.of(
                InetSocketAddress.createUnresolved("127.0.0.1", Integer.parseInt(arguments[0])), endpoint.address());
        try (TcpWorld host = TcpWorld.connect(endpoint, 1, addresses, SECRET, PATIENCE, PATIENCE)) {
            if (arguments[1].equals("exchange")) {
                exchange(host);
                return;
            }
            try (CudaBackend backend = new CudaBackend(1);
                    NcclWorld world = new NcclWorld(backend.runtime(), host);
                    TensorScope scope = backend.scope(Region.WORKSPACE)) {
                Communicator group = world.group("ep", List.of(0, 1));
                Tensor values = scope.zeros(DType.FP32, 1 << 20);
                Tensor received = scope.zeros(DType.FP32, 1 << 20);
                long[] halves = {1 << 19, 1 << 19};
                group.allToAllV(values, halves, received, halves);
                backend.download(received);
                Thread.sleep(PATIENCE.toMillis()); // until it is killed
            }
        }
    }
}
