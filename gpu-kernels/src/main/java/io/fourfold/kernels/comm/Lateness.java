package io.fourfold.kernels.comm;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * Whose fault it is that an operation does not end. The ranks that an operation misses may themselves wait for another
 * rank in another group; late are those that wait for nobody.
 *
 * @param ranks the late ones
 * @param text what happened, who is late, what all others do, what to check
 */
record Lateness(List<Integer> ranks, String text) {
    private static final String ADVICE =
            ". A late rank hangs, waits for a slow disk or network, or its machine is overloaded: the folder failures/ of"
                    + " the run has its stack. If a step, evaluation or checkpoint may take this long, raise"
                    + " run.timeouts.step_seconds";

    /**
     * @param what the operation that did not end
     * @param rank that waited in it
     * @param missing world ranks that have not come to it
     * @param activities of all ranks that answered
     */
    static Lateness of(
            Duration timeout, String what, int rank, List<Integer> missing, Map<Integer, Activity> activities) {
        TreeMap<Integer, Activity> idle = new TreeMap<>();
        TreeMap<Integer, Activity> busy = new TreeMap<>();
        activities.forEach((peer, activity) -> {
            if (peer != rank) {
                (activity.inOperation() ? busy : idle).put(peer, activity);
            }
        });
        long longest = idle.values().stream().mapToLong(Activity::millis).max().orElse(0);
        // Another rank may just be computing something.
        idle.values().removeIf(activity -> activity.millis() < longest / 2);
        List<String> lines = new ArrayList<>();
        List<Integer> late = new ArrayList<>(idle.keySet());
        idle.forEach((peer, activity) -> lines.add("world rank " + peer + " is late: " + activity.describe()));
        for (int peer : missing) {
            if (!activities.containsKey(peer)) {
                late.add(peer);
                lines.add("world rank " + peer + " is late: its process does not answer");
            }
        }
        if (late.isEmpty()) {
            late.addAll(missing);
            lines.add("all ranks wait for each other: they call operations in different orders");
        }
        busy.forEach((peer, activity) -> lines.add("world rank " + peer + " is " + activity.describe()));
        String text = "waited " + describe(timeout) + " without progress in " + what + "; not there: world ranks "
                + missing + ". " + String.join("; ", lines) + ADVICE;
        return new Lateness(List.copyOf(late), text);
    }

    private static String describe(Duration timeout) {
        return timeout.toMillis() < 1000 ? timeout.toMillis() + " ms" : timeout.toSeconds() + " s";
    }
}
