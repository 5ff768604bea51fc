package io.fourfold.data.text;

import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** Counts records and what was skipped, and remembers the first few bad ones. */
public final class SkipCounts {
    private static final int EXAMPLES = 5;

    private final Map<SkipReason, Long> counts = new EnumMap<>(SkipReason.class);
    private final List<String> examples = new ArrayList<>();
    private long records;

    void record() {
        records++;
    }

    void skip(SkipReason reason, String place, String detail) {
        counts.merge(reason, 1L, Long::sum);
        if (reason != SkipReason.EMPTY && examples.size() < EXAMPLES) {
            examples.add(place + ": " + reason.key() + (detail.isEmpty() ? "" : " (" + detail + ")"));
        }
    }

    /** Records seen, skipped ones included. */
    public long records() {
        return records;
    }

    /** Skipped records by {@link SkipReason#key()}, sorted. */
    public Map<String, Long> byReason() {
        Map<String, Long> result = new TreeMap<>();
        counts.forEach((reason, count) -> result.put(reason.key(), count));
        return result;
    }

    /** The first few skipped records, each with its place. */
    public List<String> examples() {
        return List.copyOf(examples);
    }
}
