package io.fourfold.spark.watch;

/**
 * What an executor sends: the run's attempt, a line break, a line as in metrics.jsonl (none for a flush). Plain text, so that
 * both ends need no class of the other in Spark's own class loaders.
 *
 * @param attempt the attempt that it belongs to
 * @param line a line of metrics, empty to ask whether all before has arrived
 */
record ChannelMessage(String attempt, String line) {
    String text() {
        return attempt + '\n' + line;
    }

    static ChannelMessage parse(String text) {
        int end = text.indexOf('\n');
        if (end < 0) {
            throw new IllegalArgumentException("a message of " + text.length() + " characters names no attempt");
        }
        return new ChannelMessage(text.substring(0, end), text.substring(end + 1));
    }
}
