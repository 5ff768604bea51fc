package io.fourfold.spark.prep;

import io.fourfold.data.text.DocumentHash;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * What a data set is made from; stored as {@code plan.json} before work begins, so that a later run can tell whether it
 * continues the same work.
 *
 * @param version of the way inputs become shards; another version makes other shards
 * @param fingerprint SHA-256 of settings and input contents, independent of where and when
 */
record PrepPlan(int version, String fingerprint, PrepSettings settings, List<Input> inputs, int units) {
    static final String FILE = "plan.json";
    static final int VERSION = 1;

    /** An input file: its content by SHA-256, and the time stamp that says whether the content must be read again. */
    record Input(String name, long length, long modified, String sha256) {}

    PrepPlan {
        inputs = List.copyOf(inputs);
    }

    static PrepPlan of(PrepSettings settings, List<Input> inputs, int units) {
        List<Object> decisive = new ArrayList<>();
        decisive.add(VERSION);
        // The name under which the tokenizer is found does not change what it does.
        decisive.add(describe(settings));
        for (Input input : inputs) {
            decisive.add(List.of(input.name(), input.length(), input.sha256()));
        }
        String fingerprint = HexFormat.of().formatHex(DocumentHash.of(PrepJson.toBytes(decisive)));
        return new PrepPlan(VERSION, fingerprint, settings, inputs, units);
    }

    private static Map<String, String> describe(PrepSettings settings) {
        Map<String, String> values = new TreeMap<>();
        values.put("data set", settings.dataSet());
        values.put("data.text_field", settings.textField());
        values.put("tokenizer fingerprint", settings.tokenizerFingerprint());
        values.put("data.validation_fraction", Double.toString(settings.validationFraction()));
        values.put("data.dedup", Boolean.toString(settings.dedup()));
        values.put("data.max_document_bytes", Long.toString(settings.maxDocumentBytes()));
        values.put("data.tokens_per_shard", Long.toString(settings.tokensPerShard()));
        return values;
    }

    /** What makes {@code other} another plan, a line each; empty when nothing does. */
    List<String> differences(PrepPlan other) {
        List<String> lines = new ArrayList<>();
        if (version != other.version) {
            lines.add("format version " + version + " -> " + other.version);
        }
        Map<String, String> now = describe(other.settings);
        describe(settings).forEach((key, value) -> {
            if (!value.equals(now.get(key))) {
                lines.add(key + ": " + value + " -> " + now.get(key));
            }
        });
        Map<String, Input> before = byName(inputs);
        Map<String, Input> after = byName(other.inputs);
        before.forEach((name, input) -> {
            Input current = after.get(name);
            if (current == null) {
                lines.add("input " + name + " is gone");
            } else if (!current.sha256().equals(input.sha256()) || current.length() != input.length()) {
                lines.add("input " + name + " has other content");
            }
        });
        after.keySet().stream()
                .filter(name -> !before.containsKey(name))
                .forEach(name -> lines.add("input " + name + " is new"));
        return lines;
    }

    private static Map<String, Input> byName(List<Input> inputs) {
        Map<String, Input> result = new TreeMap<>();
        inputs.forEach(input -> result.put(input.name(), input));
        return result;
    }
}
