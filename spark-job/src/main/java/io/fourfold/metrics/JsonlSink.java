package io.fourfold.metrics;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Clock;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Appends one JSON object a line to metrics.jsonl; {@link MetricsReader} reads it back.
 *
 * <p>Nothing already written is changed. When the file has content, {@link #start} first appends a {@code resume} line,
 * which says that earlier step and evaluation lines from its {@code first_step} on are superseded. A line that a kill cut
 * off is ended, so that the new lines stay readable.
 *
 * <p>Expert loads and quantization statistics are large: they are written on at most about {@value #DETAILED_STEPS} evenly
 * spaced steps of the run (on every step of a shorter run).
 */
public final class JsonlSink implements MetricsSink {
    /** Name of the file in a run folder. */
    public static final String FILE_NAME = "metrics.jsonl";

    static final int DETAILED_STEPS = 500;

    private final Path file;
    private final Clock clock;
    private @Nullable FileChannel channel;
    private boolean lineOpen;
    private int firstStep;
    private int totalSteps;
    private int lastQuantized;

    /** Writes into {@code folder}/metrics.jsonl; the folder is made on the first call of {@link #start}. */
    public JsonlSink(Path folder) {
        this(folder, Clock.systemUTC());
    }

    JsonlSink(Path folder, Clock clock) {
        this.file = folder.resolve(FILE_NAME);
        this.clock = clock;
    }

    @Override
    public void start(Map<String, String> facts, int firstStep, int totalSteps) {
        this.firstStep = firstStep;
        this.totalSteps = totalSteps;
        this.lastQuantized = -detailEvery();
        if (hasContent()) {
            append(MetricsJson.resume(now(), firstStep));
        }
        append(MetricsJson.start(now(), facts, firstStep, totalSteps));
    }

    @Override
    public void step(StepMetrics metrics) {
        int step = metrics.step();
        boolean edge = step == firstStep || step == totalSteps;
        boolean withLoad = edge || step % detailEvery() == 0;
        boolean withQuantization = !metrics.quantization().isEmpty() && (edge || step - lastQuantized >= detailEvery());
        append(MetricsJson.step(now(), metrics, withLoad, withQuantization));
        if (withQuantization) {
            lastQuantized = step;
        }
    }

    @Override
    public void evaluation(EvalMetrics metrics) {
        append(MetricsJson.evaluation(now(), metrics));
    }

    @Override
    public void event(int step, String kind, String message) {
        append(MetricsJson.event(now(), step, kind, message));
    }

    @Override
    public void ranks(List<RankBeat> ranks) {
        append(MetricsJson.ranks(now(), ranks));
    }

    @Override
    public void close() {
        FileChannel open = channel;
        channel = null;
        if (open != null) {
            try (open) {
                open.force(false);
            } catch (IOException e) {
                throw new UncheckedIOException("Cannot flush " + file, e);
            }
        }
    }

    private int detailEvery() {
        return Math.max(1, (totalSteps + DETAILED_STEPS - 1) / DETAILED_STEPS);
    }

    private Instant now() {
        return clock.instant().truncatedTo(ChronoUnit.MILLIS);
    }

    private boolean hasContent() {
        try {
            return openFile().size() > 0;
        } catch (IOException e) {
            throw new UncheckedIOException("Cannot read the size of " + file, e);
        }
    }

    private void append(String line) {
        try {
            FileChannel open = openFile();
            byte[] bytes = ((lineOpen ? "\n" : "") + line + "\n").getBytes(StandardCharsets.UTF_8);
            // Until the whole line is written, the next one has to start with a line break.
            lineOpen = true;
            ByteBuffer rest = ByteBuffer.wrap(bytes);
            while (rest.hasRemaining()) {
                open.write(rest);
            }
            lineOpen = false;
        } catch (IOException e) {
            throw new UncheckedIOException("Cannot append to " + file + ": is the disk full or read-only?", e);
        }
    }

    private FileChannel openFile() throws IOException {
        FileChannel open = channel;
        if (open == null) {
            Path folder = file.toAbsolutePath().getParent();
            if (folder != null) {
                Files.createDirectories(folder);
            }
            open = FileChannel.open(file, StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE);
            channel = open;
            long size = open.size();
            if (size > 0) {
                ByteBuffer last = ByteBuffer.allocate(1);
                open.read(last, size - 1);
                lineOpen = last.get(0) != '\n';
                open.position(size);
            }
        }
        return open;
    }
}
