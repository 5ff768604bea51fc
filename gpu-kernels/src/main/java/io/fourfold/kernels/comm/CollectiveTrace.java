package io.fourfold.kernels.comm;

import java.time.Instant;
import java.util.ArrayList;
import java.util.List;

/** The last operations of a rank, for the question who waits for whom when a run hangs. Old ones are overwritten. */
final class CollectiveTrace {
    private static final int CAPACITY = 128;

    private final String[] groups = new String[CAPACITY];
    private final String[] operations = new String[CAPACITY];
    private final long[] starts = new long[CAPACITY];
    private final long[] nanos = new long[CAPACITY];
    private final boolean[] ended = new boolean[CAPACITY];
    private long count;
    private long idleSince = System.nanoTime();

    /** Notes that an operation begins; the result is for {@link #end}. */
    synchronized long begin(String group, String operation) {
        int at = (int) (count % CAPACITY);
        groups[at] = group;
        operations[at] = operation;
        starts[at] = System.currentTimeMillis();
        nanos[at] = System.nanoTime();
        ended[at] = false;
        return count++;
    }

    /** Notes an operation that is over for this rank, such as one that was queued on a GPU. */
    synchronized void note(String group, String operation) {
        end(begin(group, operation));
    }

    synchronized void end(long number) {
        if (number >= count - CAPACITY) {
            int at = (int) (number % CAPACITY);
            nanos[at] = System.nanoTime() - nanos[at];
            ended[at] = true;
        }
        idleSince = System.nanoTime();
    }

    /** What the rank does: the oldest operation that is under way, or else since when there is none. */
    synchronized Activity activity() {
        long now = System.nanoTime();
        for (long number = Math.max(0, count - CAPACITY); number < count; number++) {
            int at = (int) (number % CAPACITY);
            if (!ended[at]) {
                return new Activity(true, (now - nanos[at]) / 1_000_000, describe(number));
            }
        }
        return new Activity(false, (now - idleSince) / 1_000_000, count == 0 ? "none so far" : describe(count - 1));
    }

    private String describe(long number) {
        int at = (int) (number % CAPACITY);
        return "#" + number + " " + groups[at] + " " + operations[at];
    }

    /** One line for each operation, the oldest first: number, begin, duration or that it is under way, group, call. */
    synchronized List<String> lines() {
        List<String> lines = new ArrayList<>();
        for (long number = Math.max(0, count - CAPACITY); number < count; number++) {
            int at = (int) (number % CAPACITY);
            String state = ended[at] ? nanos[at] / 1000 + " us" : "not finished";
            lines.add("#" + number + " " + Instant.ofEpochMilli(starts[at]) + " " + state + " " + groups[at] + " "
                    + operations[at]);
        }
        return lines;
    }
}
