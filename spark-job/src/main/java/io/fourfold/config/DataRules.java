package io.fourfold.config;

import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;

/** Combinations within the data section. */
final class DataRules {
    private static final Pattern NAME = Pattern.compile("[A-Za-z0-9][A-Za-z0-9_.-]*");

    private DataRules() {}

    static void check(DataConfig data, List<Problem> problems) {
        data.sources().forEach((name, files) -> {
            if (!NAME.matcher(name).matches()) {
                problems.add(Problem.error(
                        "data.sources." + name,
                        name,
                        "a data set's name becomes a folder: letters, digits, '_', '-' and '.' only",
                        "rename the data set"));
            }
            if (files.isEmpty()) {
                problems.add(
                        Problem.error("data.sources." + name, "[]", "has no files", "list a file, a folder or a glob"));
            }
        });
        blend(data, problems);
        if (data.resetPositions() && !data.documentMask()) {
            problems.add(Problem.warning(
                    "data.reset_positions",
                    true,
                    "restarts positions at each document while attention still crosses documents",
                    "set data.document_mask to true, or reset_positions to false"));
        }
        if (data.tokenizer().isBlank()) {
            problems.add(Problem.error(
                    "data.tokenizer",
                    "",
                    "must name a tokenizer",
                    "use bytes, tiktoken:<encoding>, or the path of a tokenizer.json"));
        }
    }

    private static void blend(DataConfig data, List<Problem> problems) {
        if (!data.blend().isEmpty() && data.blend().values().stream().allMatch(w -> w == 0)) {
            problems.add(Problem.error(
                    "data.blend", "", "all weights are 0", "give at least one data set a weight above 0"));
        }
        for (Map.Entry<String, Double> weight : data.blend().entrySet()) {
            String key = "data.blend." + weight.getKey();
            if (weight.getValue() < 0) {
                problems.add(Problem.error(
                        key, weight.getValue(), "a weight must not be negative", "use 0 to leave the data set out"));
            }
            if (!data.sources().isEmpty() && !data.sources().containsKey(weight.getKey())) {
                String nearest = NearestName.of(weight.getKey(), data.sources().keySet());
                problems.add(Problem.error(
                        key,
                        "",
                        "is not among data.sources",
                        nearest != null
                                ? "did you mean " + nearest + "?"
                                : "there is: " + data.sources().keySet()));
            }
        }
    }
}
