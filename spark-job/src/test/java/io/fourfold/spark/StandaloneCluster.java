package io.fourfold.spark;

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** A Spark master and workers with one slot each, on addresses of this machine that pass for several hosts. */
final class StandaloneCluster implements AutoCloseable {
    private final List<Process> processes = new ArrayList<>();
    private final int port;

    private StandaloneCluster(int port) {
        this.port = port;
    }

    static StandaloneCluster start(Path folder, List<String> hosts) throws IOException, InterruptedException {
        int port;
        try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getByName("127.0.0.1"))) {
            port = socket.getLocalPort();
        }
        StandaloneCluster cluster = new StandaloneCluster(port);
        cluster.launch(
                folder,
                "master",
                "127.0.0.1",
                List.of(
                        "-Xmx256m",
                        "org.apache.spark.deploy.master.Master",
                        "--host",
                        "127.0.0.1",
                        "--port",
                        Integer.toString(port),
                        "--webui-port",
                        "0"));
        cluster.awaitMaster();
        for (String host : hosts) {
            cluster.launch(
                    folder,
                    "worker-" + host,
                    host,
                    List.of(
                            "-Xmx256m",
                            "org.apache.spark.deploy.worker.Worker",
                            "--host",
                            host,
                            "--cores",
                            "1",
                            "--memory",
                            "600M",
                            "--webui-port",
                            "0",
                            cluster.master()));
        }
        return cluster;
    }

    private void launch(Path folder, String name, String host, List<String> arguments) throws IOException {
        ProcessBuilder builder = DriverProcess.java(folder, name, arguments);
        // Executors of a worker take its address.
        builder.environment().put("SPARK_LOCAL_IP", host);
        processes.add(builder.start());
    }

    private void awaitMaster() throws InterruptedException {
        for (int i = 0; i < 200; i++) {
            try (Socket socket = new Socket()) {
                socket.connect(new InetSocketAddress("127.0.0.1", port), 100);
                return;
            } catch (IOException e) {
                Thread.sleep(200);
            }
        }
        throw new IllegalStateException("the master does not listen on port " + port);
    }

    String master() {
        return "spark://127.0.0.1:" + port;
    }

    /** Workers before the master, so that none complains. */
    @Override
    public void close() throws InterruptedException {
        for (int i = processes.size() - 1; i >= 0; i--) {
            processes.get(i).destroy();
            processes.get(i).waitFor();
        }
    }
}
