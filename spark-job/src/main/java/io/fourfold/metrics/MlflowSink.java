package io.fourfold.metrics;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.fourfold.config.RunConfig.MlflowConfig;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Reports to an MLflow server: facts as parameters, numbers as metrics by step, the end as the run's status. A thread of its
 * own sends batches, so a slow server never holds training; when it cannot be reached a warning is given once and the newest
 * {@value #MOST_WAITING} numbers wait for it. The run's id is kept in mlflow.json of the run folder, so that a run that goes
 * on later goes on there, too.
 */
public final class MlflowSink implements MetricsSink {
    static final String ID_FILE = "mlflow.json";

    private static final Logger LOG = LoggerFactory.getLogger(MlflowSink.class);
    /** MLflow's own limits of one log-batch call. */
    private static final int METRICS_A_BATCH = 1000;

    private static final int PARAMETERS_A_BATCH = 100;
    private static final int LONGEST_PARAMETER = 500;
    private static final int MOST_WAITING = 20_000;
    private static final long PERIOD_MILLIS = 2000;
    private static final long CLOSE_SECONDS = 15;

    private record Metric(String key, double value, long millis, int step) {}

    private final MlflowClient client;
    private final MlflowConfig config;
    private final String name;
    private final Path folder;
    private final LinkedBlockingQueue<Metric> waiting = new LinkedBlockingQueue<>(MOST_WAITING);
    private final AtomicBoolean warned = new AtomicBoolean();
    private final CountDownLatch closing = new CountDownLatch(1);
    private final Thread sender = new Thread(this::run, "fourfold-mlflow");
    private volatile Map<String, String> facts = Map.of();
    private volatile String status = "KILLED";
    private List<Metric> unsent = List.of();
    private @Nullable String runId;
    private boolean parametersSent;

    MlflowSink(MlflowClient client, MlflowConfig config, String name, Path folder) {
        this.client = client;
        this.config = config;
        this.name = name;
        this.folder = folder;
        sender.setDaemon(true);
    }

    @Override
    public void start(Map<String, String> newFacts, int firstStep, int totalSteps) {
        facts = newFacts;
        if (sender.getState() == Thread.State.NEW) {
            sender.start();
        }
    }

    @Override
    public void step(StepMetrics metrics) {
        int step = metrics.step();
        add("train/loss", metrics.loss(), step);
        add("train/lr", metrics.learningRate(), step);
        add("train/grad_norm", metrics.gradNorm(), step);
        add("throughput/tokens_per_second", metrics.tokensPerSecond(), step);
        add("throughput/step_seconds", metrics.stepSeconds(), step);
        add("throughput/mfu", metrics.mfu(), step);
        if (!metrics.expertLoad().isEmpty()) {
            add("moe/aux_loss", metrics.auxLoss(), step);
            add("moe/dropped", metrics.dropped(), step);
        }
    }

    @Override
    public void evaluation(EvalMetrics metrics) {
        add("eval/loss", metrics.loss(), metrics.step());
        add("eval/perplexity", metrics.perplexity(), metrics.step());
    }

    @Override
    public void event(int step, String kind, String message) {
        switch (kind) {
            case EventKind.FINISHED -> status = "FINISHED";
            case EventKind.FAILED, EventKind.NON_FINITE -> status = "FAILED";
            default -> {
                // MLflow has no place for other events.
            }
        }
    }

    /** Waits a little for what is still to be sent. */
    @Override
    public void close() {
        closing.countDown();
        try {
            sender.join(TimeUnit.SECONDS.toMillis(CLOSE_SECONDS));
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private void add(String key, double value, int step) {
        Metric metric = new Metric(key, value, System.currentTimeMillis(), step);
        while (Double.isFinite(value) && !waiting.offer(metric)) {
            waiting.poll();
        }
    }

    private void run() {
        boolean last = false;
        while (!last) {
            try {
                last = closing.await(PERIOD_MILLIS, TimeUnit.MILLISECONDS);
                send(last);
            } catch (InterruptedException e) {
                return;
            } catch (RuntimeException e) {
                if (warned.compareAndSet(false, true)) {
                    LOG.warn(
                            "MLflow: {}. Training goes on; sending is tried again without further warnings",
                            e.toString());
                }
            }
        }
    }

    private void send(boolean last) {
        String id = runId == null ? open() : runId;
        runId = id;
        if (!parametersSent) {
            parameters(id);
            parametersSent = true;
        }
        while (!unsent.isEmpty() || !waiting.isEmpty()) {
            if (unsent.isEmpty()) {
                List<Metric> batch = new ArrayList<>();
                waiting.drainTo(batch, METRICS_A_BATCH);
                unsent = batch;
            }
            metrics(id, unsent);
            unsent = List.of();
        }
        if (last) {
            client.post(
                    "runs/update",
                    MlflowClient.object()
                            .put("run_id", id)
                            .put("status", status)
                            .put("end_time", System.currentTimeMillis()));
        }
    }

    /** The run of mlflow.json when it is on this server, else a new one. */
    private String open() {
        Path file = folder.resolve(ID_FILE);
        try {
            if (Files.exists(file)) {
                JsonNode kept = MlflowClient.parse(Files.readString(file));
                if (kept.path("uri").asText().equals(config.uri())
                        && kept.path("experiment").asText().equals(config.experiment())) {
                    String id = kept.path("run_id").asText();
                    client.post(
                            "runs/update",
                            MlflowClient.object().put("run_id", id).put("status", "RUNNING"));
                    return id;
                }
            }
            ObjectNode body = MlflowClient.object()
                    .put("experiment_id", client.experiment(config.experiment()))
                    .put("run_name", name)
                    .put("start_time", System.currentTimeMillis());
            String id = client.post("runs/create", body)
                    .path("run")
                    .path("info")
                    .path("run_id")
                    .asText();
            Files.createDirectories(folder);
            Files.writeString(
                    file,
                    MlflowClient.object()
                            .put("uri", config.uri())
                            .put("experiment", config.experiment())
                            .put("run_id", id)
                            .toString());
            return id;
        } catch (IOException e) {
            throw new UncheckedIOException("cannot read or write " + file, e);
        }
    }

    private void parameters(String id) {
        ObjectNode body = MlflowClient.object().put("run_id", id);
        ArrayNode parameters = body.putArray("params");
        facts.entrySet().stream()
                .limit(PARAMETERS_A_BATCH)
                .forEach(fact -> parameters
                        .addObject()
                        .put("key", fact.getKey())
                        .put(
                                "value",
                                fact.getValue()
                                        .substring(
                                                0,
                                                Math.min(
                                                        LONGEST_PARAMETER,
                                                        fact.getValue().length()))));
        try {
            client.post("runs/log-batch", body);
        } catch (IllegalStateException e) {
            // A parameter of an MLflow run cannot change; a run that goes on with another number of ranks has one that
            // did.
            LOG.info("MLflow keeps the parameters it has: {}", e.getMessage());
        }
    }

    private void metrics(String id, List<Metric> batch) {
        ObjectNode body = MlflowClient.object().put("run_id", id);
        ArrayNode metrics = body.putArray("metrics");
        for (Metric metric : batch) {
            metrics.addObject()
                    .put("key", metric.key())
                    .put("value", metric.value())
                    .put("timestamp", metric.millis())
                    .put("step", metric.step());
        }
        client.post("runs/log-batch", body);
    }
}
