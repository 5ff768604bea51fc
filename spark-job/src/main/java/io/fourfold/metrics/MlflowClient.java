package io.fourfold.metrics;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Base64;
import java.util.Map;

/**
 * The few calls of MLflow's REST API (2.0) that a run needs. Credentials come from the environment, as MLflow's own client
 * takes them: MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.
 */
final class MlflowClient {
    private static final Duration TIMEOUT = Duration.ofSeconds(20);
    private static final ObjectMapper MAPPER = new ObjectMapper();
    private static final int NOT_FOUND = 404;
    private static final int FIRST_ERROR = 300;

    private final HttpClient http = HttpClient.newBuilder()
            .version(HttpClient.Version.HTTP_1_1)
            .connectTimeout(TIMEOUT)
            .build();
    private final String base;
    private final String authorization;

    MlflowClient(String uri) {
        this(uri, System.getenv());
    }

    MlflowClient(String uri, Map<String, String> environment) {
        base = uri.replaceAll("/+$", "") + "/api/2.0/mlflow/";
        String token = environment.get("MLFLOW_TRACKING_TOKEN");
        String user = environment.get("MLFLOW_TRACKING_USERNAME");
        if (token != null) {
            authorization = "Bearer " + token;
        } else if (user != null) {
            String pair = user + ":" + environment.getOrDefault("MLFLOW_TRACKING_PASSWORD", "");
            authorization = "Basic " + Base64.getEncoder().encodeToString(pair.getBytes(StandardCharsets.UTF_8));
        } else {
            authorization = "";
        }
    }

    /** The id of an experiment, which is made when there is none. */
    String experiment(String name) {
        HttpResponse<String> found = send(
                request("experiments/get-by-name?experiment_name=" + URLEncoder.encode(name, StandardCharsets.UTF_8))
                        .GET()
                        .build());
        if (found.statusCode() == NOT_FOUND) {
            return post("experiments/create", MAPPER.createObjectNode().put("name", name))
                    .path("experiment_id")
                    .asText();
        }
        return checked(found).path("experiment").path("experiment_id").asText();
    }

    /** Sends one JSON object and returns the answer. */
    JsonNode post(String call, ObjectNode body) {
        return checked(send(request(call)
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(body.toString()))
                .build()));
    }

    static ObjectNode object() {
        return MAPPER.createObjectNode();
    }

    static JsonNode parse(String json) throws JsonProcessingException {
        return MAPPER.readTree(json);
    }

    private HttpRequest.Builder request(String call) {
        HttpRequest.Builder request =
                HttpRequest.newBuilder(URI.create(base + call)).timeout(TIMEOUT);
        return authorization.isEmpty() ? request : request.header("Authorization", authorization);
    }

    private HttpResponse<String> send(HttpRequest request) {
        try {
            return http.send(request, HttpResponse.BodyHandlers.ofString());
        } catch (IOException e) {
            throw new UncheckedIOException("no answer from " + request.uri(), e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted while waiting for " + request.uri(), e);
        }
    }

    private static JsonNode checked(HttpResponse<String> response) {
        if (response.statusCode() >= FIRST_ERROR) {
            String said = response.body().lines().findFirst().orElse("");
            throw new IllegalStateException(response.uri() + " answered " + response.statusCode() + ": "
                    + said.substring(0, Math.min(200, said.length())));
        }
        try {
            return MAPPER.readTree(response.body());
        } catch (JsonProcessingException e) {
            throw new UncheckedIOException(response.uri() + " answered something else than JSON", e);
        }
    }
}
