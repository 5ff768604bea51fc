package io.fourfold.report;

import io.fourfold.metrics.HumanNumbers;
import java.util.ArrayList;
import java.util.List;

/**
 * Neighbouring entries of a list that are shown as one.
 *
 * @param from first index
 * @param to one after the last index
 */
record Stretch(int from, int to) {
    /** Divides {@code size} entries into at most {@code most} stretches of nearly equal length. */
    static List<Stretch> of(int size, int most) {
        int count = Math.min(size, most);
        List<Stretch> stretches = new ArrayList<>(count);
        for (int i = 0; i < count; i++) {
            stretches.add(new Stretch((int) ((long) i * size / count), (int) ((long) (i + 1) * size / count)));
        }
        return stretches;
    }

    /** Labels for the two ends of an axis of steps; one label when they are the same. */
    static List<String> ends(int first, int last) {
        return first == last ? List.of(name(first, first)) : List.of(name(first, first), name(last, last));
    }

    /** "step 7" or "steps 7 to 12". */
    static String name(int first, int last) {
        return first == last
                ? "step " + HumanNumbers.grouped(first)
                : "steps " + HumanNumbers.grouped(first) + " to " + HumanNumbers.grouped(last);
    }
}
