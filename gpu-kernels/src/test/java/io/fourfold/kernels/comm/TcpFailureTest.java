package io.fourfold.kernels.comm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.kernels.comm.RankThreads.Outcome;
import java.io.DataInputStream;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.Test;

final class TcpFailureTest extends FailureContract {
    @Override
    List<? extends WatchableWorld> create(int size, Duration timeout) throws Exception {
        return TcpWorlds.create(size, timeout);
    }

    @Test
    void strangersAreRefused() throws Exception {
        TcpEndpoint first = TcpEndpoint.open("127.0.0.1");
        TcpEndpoint second = TcpEndpoint.open("127.0.0.1");
        var addresses = List.of(first.address(), second.address());
        Thread rank0 = new Thread(() -> assertThatThrownBy(() -> TcpWorld.connect(
                        first, 0, addresses, TcpWorlds.SECRET, Duration.ofSeconds(1), Duration.ofSeconds(1)))
                .hasMessageContaining("world rank 1 (127.0.0.1:")
                .hasMessageContaining("did not connect within 1 s"));
        Throwable[] failure = new Throwable[1];
        rank0.setUncaughtExceptionHandler((thread, e) -> failure[0] = e);
        rank0.start();
        byte[] guess = "another secret, also long".getBytes(StandardCharsets.UTF_8);
        assertThatThrownBy(() ->
                        TcpWorld.connect(second, 1, addresses, guess, Duration.ofSeconds(1), Duration.ofSeconds(1)))
                .isInstanceOf(CommunicationException.class)
                .hasMessageContaining("world rank 0");
        try (Socket talker = new Socket("127.0.0.1", first.address().getPort())) {
            talker.getOutputStream().write(new byte[200]);
            DataInputStream in = new DataInputStream(talker.getInputStream());
            in.readNBytes(20);
            // Closed, maybe with a reset because of what was not read.
            int next;
            try {
                next = in.read();
            } catch (java.net.SocketException e) {
                next = -1;
            }
            assertThat(next).isEqualTo(-1);
        }
        rank0.join();
        assertThat(failure[0]).isNull();
    }

    @Test
    void lastOperationsTellWhatIsNotFinished() throws Exception {
        List<? extends WatchableWorld> worlds = create(2, Duration.ofSeconds(1));
        List<Outcome<Boolean>> outcomes = RankThreads.outcomes(worlds, world -> {
            Communicator group = world.group("ep", RankThreads.all(2));
            for (int i = 0; i < 200; i++) {
                group.barrier();
            }
            if (world.rank() == 0) {
                group.allReduce(floats(3), ReduceOp.SUM);
            } else {
                Thread.sleep(1_500);
            }
            return true;
        });
        assertThat(outcomes.get(0).failure()).hasMessageContaining("allReduce(SUM, FP32[3])");
        List<String> lines = worlds.get(0).lastOperations();
        assertThat(lines).hasSize(128);
        assertThat(lines.get(127)).contains("#200 ", "not finished ep allReduce(SUM, FP32[3])");
        assertThat(lines.get(126)).contains("#199 ", " us ep barrier()");
    }
}
