package io.fourfold.kernels.comm;

import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/** All ranks of a TCP world in this process. */
final class TcpWorlds {
    static final byte[] SECRET = "a secret of this test".getBytes(StandardCharsets.UTF_8);

    private TcpWorlds() {}

    static List<TcpWorld> create(int size, Duration timeout) throws Exception {
        List<TcpEndpoint> endpoints = new ArrayList<>();
        for (int rank = 0; rank < size; rank++) {
            endpoints.add(TcpEndpoint.open("127.0.0.1"));
        }
        List<InetSocketAddress> addresses =
                endpoints.stream().map(TcpEndpoint::address).toList();
        ExecutorService threads = Executors.newFixedThreadPool(size);
        try {
            List<Future<TcpWorld>> futures = new ArrayList<>();
            for (int r = 0; r < size; r++) {
                int rank = r;
                futures.add(threads.submit(() -> TcpWorld.connect(
                        endpoints.get(rank), rank, addresses, SECRET, Duration.ofSeconds(10), timeout)));
            }
            List<TcpWorld> worlds = new ArrayList<>();
            for (Future<TcpWorld> future : futures) {
                worlds.add(future.get());
            }
            return worlds;
        } finally {
            threads.shutdown();
        }
    }
}
