package io.fourfold.config;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * What changed between the configuration of a run and the one it is to be continued with.
 *
 * @param key dotted path
 * @param before canonical text; null when the setting is new
 * @param after canonical text
 * @param allowed a run may be continued with this change
 */
public record ConfigDifference(String key, @Nullable String before, String after, boolean allowed) {
    /**
     * Settings that may change while a run goes on. They say how the run is watched, stored and spread over machines, or,
     * like the number of steps and the late switch, take effect from the next step on. A loss curve stays comparable:
     * what decides it (model, recipe, data, batch, optimizer, seed) may not change.
     */
    private static final List<String> FREE = List.of(
            "run.",
            "parallel.",
            "train.steps",
            "train.micro_batch_size",
            "train.eval_every",
            "train.eval_samples",
            "recipe.telemetry_every",
            "recipe.late_switch.",
            "data.prepared",
            "data.verify_checksums");

    /** In the order of the records; empty when the two mean the same. */
    public static List<ConfigDifference> between(FourfoldConfig before, FourfoldConfig after) {
        Map<String, String> old = ResolvedConfig.of(before).values();
        Map<String, String> now = ResolvedConfig.of(after).values();
        List<ConfigDifference> differences = new ArrayList<>();
        now.forEach((key, value) -> {
            String was = old.get(key);
            if (!value.equals(was)) {
                boolean allowed = key.equals("data.sources") ? sameDataSets(before, after) : isFree(key);
                differences.add(new ConfigDifference(key, was, value, allowed));
            }
        });
        old.forEach((key, value) -> {
            if (!now.containsKey(key)) {
                differences.add(new ConfigDifference(key, value, "null", false));
            }
        });
        return differences;
    }

    /** Raw text may move once it is prepared; the names say what is read. */
    private static boolean sameDataSets(FourfoldConfig before, FourfoldConfig after) {
        return before.data().sources().keySet().equals(after.data().sources().keySet());
    }

    private static boolean isFree(String key) {
        return FREE.stream().anyMatch(free -> free.endsWith(".") ? key.startsWith(free) : key.equals(free));
    }

    @Override
    public String toString() {
        return key + ": " + (before == null ? "(new)" : before) + " -> " + after;
    }
}
