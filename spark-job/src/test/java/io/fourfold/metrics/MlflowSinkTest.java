package io.fourfold.metrics;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import io.fourfold.config.RunConfig.MlflowConfig;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Against a server that answers as MLflow's REST API is documented. */
class MlflowSinkTest {
    private record Call(String path, String authorization, JsonNode body) {}

    private static final ObjectMapper MAPPER = new ObjectMapper();

    private final List<Call> calls = Collections.synchronizedList(new ArrayList<>());
    private volatile int failures;
    private HttpServer server;
    private String uri;

    @TempDir
    Path folder;

    @BeforeEach
    void start() throws IOException {
        server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.createContext("/", this::answer);
        server.start();
        uri = "http://127.0.0.1:" + server.getAddress().getPort() + "/";
    }

    @AfterEach
    void stop() {
        server.stop(0);
    }

    private void answer(HttpExchange exchange) throws IOException {
        String path = exchange.getRequestURI().toString().replace("/api/2.0/mlflow/", "");
        byte[] sent = exchange.getRequestBody().readAllBytes();
        String authorization = exchange.getRequestHeaders().getFirst("Authorization");
        calls.add(new Call(
                path, String.valueOf(authorization), sent.length == 0 ? MAPPER.nullNode() : MAPPER.readTree(sent)));
        int code = path.startsWith("experiments/get-by-name") ? 404 : 200;
        if (failures > 0) {
            failures--;
            code = 503;
        }
        byte[] body =
                ("{\"experiment_id\":\"7\",\"run\":{\"info\":{\"run_id\":\"abc\"}}}").getBytes(StandardCharsets.UTF_8);
        exchange.sendResponseHeaders(code, body.length);
        exchange.getResponseBody().write(body);
        exchange.close();
    }

    private MlflowSink sink(Map<String, String> environment) {
        return new MlflowSink(
                new MlflowClient(uri, environment), new MlflowConfig(uri, "ex periment"), "a run", folder);
    }

    @Test
    void aRunIsCreatedFilledInBatchesAndEnded() {
        try (MlflowSink sink = sink(Map.of("MLFLOW_TRACKING_TOKEN", "secret"))) {
            sink.start(SampleMetrics.facts(), 1, 400);
            for (int step = 1; step <= 400; step++) {
                sink.step(SampleMetrics.step(step));
            }
            sink.evaluation(new EvalMetrics(400, 2.5, 100, 1));
            sink.event(400, EventKind.FINISHED, "done");
        }
        assertThat(calls)
                .extracting(Call::path)
                .startsWith("experiments/get-by-name?experiment_name=ex+periment", "experiments/create", "runs/create")
                .endsWith("runs/update");
        assertThat(calls).extracting(Call::authorization).containsOnly("Bearer secret");
        assertThat(calls.get(2).body().path("experiment_id").asText()).isEqualTo("7");
        List<JsonNode> batches = calls.stream()
                .filter(call -> call.path().equals("runs/log-batch"))
                .map(Call::body)
                .toList();
        assertThat(batches.get(0).path("params")).hasSize(3);
        assertThat(batches)
                .allSatisfy(batch -> assertThat(batch.path("metrics").size()).isLessThanOrEqualTo(1000));
        // Seven finite numbers a step (the peak is unknown), two of the validation.
        assertThat(batches.stream()
                        .mapToInt(batch -> batch.path("metrics").size())
                        .sum())
                .isEqualTo(7 * 400 + 2);
        assertThat(calls.get(calls.size() - 1).body().path("status").asText()).isEqualTo("FINISHED");
    }

    @Test
    void aRunThatGoesOnGoesOnThere() {
        for (int start = 1; start <= 2; start++) {
            try (MlflowSink sink = sink(Map.of())) {
                sink.start(SampleMetrics.facts(), start, 2);
                sink.step(SampleMetrics.step(start));
            }
        }
        assertThat(calls).extracting(Call::path).containsOnlyOnce("runs/create");
        assertThat(calls.get(calls.size() - 1).body().path("status").asText()).isEqualTo("KILLED");
    }

    @Test
    void anUnavailableServerIsTriedAgainAndNothingIsThrown() {
        failures = 1;
        try (MlflowSink sink = sink(Map.of())) {
            sink.start(SampleMetrics.facts(), 1, 2);
            sink.step(SampleMetrics.step(1));
            for (int i = 0; i < 100 && calls.isEmpty(); i++) {
                sleep();
            }
        }
        assertThat(calls).extracting(Call::path).contains("runs/create", "runs/log-batch");
        server.stop(0);
        try (MlflowSink sink = sink(Map.of())) {
            sink.start(SampleMetrics.facts(), 1, 2);
            sink.step(SampleMetrics.step(1));
        }
    }

    private static void sleep() {
        try {
            Thread.sleep(50);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }
}
