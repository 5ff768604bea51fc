package io.fourfold.checkpoint;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.fourfold.config.ModelConfig;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * Identity of a model: a hash over everything that decides what its weights mean. Left out are the name, the Hugging Face
 * family and the initialisation, which change neither shapes nor computation, and loss coefficients and capacity, which may
 * be tuned during a run.
 */
public final class ModelFingerprint {
    private static final List<String> IGNORED = List.of(
            "name",
            "family",
            "initStd",
            "maxPositions",
            "biasUpdateRate",
            "auxLossCoeff",
            "auxLossScope",
            "zLossCoeff",
            "capacity");
    private static final ObjectMapper MAPPER = new ObjectMapper();

    private ModelFingerprint() {}

    /** The configuration as JSON, as manifests store it. */
    public static JsonNode json(ModelConfig model) {
        return MAPPER.valueToTree(model);
    }

    public static String of(JsonNode model) {
        return Sha256.hex(String.join("\n", lines(model)));
    }

    /** Settings in which two models differ, as {@code key: here | there} lines. */
    public static List<String> differences(JsonNode here, JsonNode there) {
        Map<String, String> a = flat(here);
        Map<String, String> b = flat(there);
        TreeMap<String, String> keys = new TreeMap<>(a);
        keys.putAll(b);
        List<String> differences = new ArrayList<>();
        for (String key : keys.keySet()) {
            String left = a.getOrDefault(key, "absent");
            String right = b.getOrDefault(key, "absent");
            if (!left.equals(right)) {
                differences.add(key + ": " + left + " | " + right);
            }
        }
        return differences;
    }

    private static List<String> lines(JsonNode model) {
        return flat(model).entrySet().stream()
                .map(entry -> entry.getKey() + "=" + entry.getValue())
                .toList();
    }

    private static Map<String, String> flat(JsonNode model) {
        Map<String, String> values = new TreeMap<>();
        flatten("", model, values);
        return values;
    }

    private static void flatten(String prefix, JsonNode node, Map<String, String> values) {
        if (node instanceof ObjectNode object) {
            for (Map.Entry<String, JsonNode> field : object.properties()) {
                if (!IGNORED.contains(field.getKey())) {
                    flatten(
                            prefix.isEmpty() ? field.getKey() : prefix + "." + field.getKey(),
                            field.getValue(),
                            values);
                }
            }
        } else if (!node.isNull()) {
            values.put(prefix, node.toString());
        }
    }
}
