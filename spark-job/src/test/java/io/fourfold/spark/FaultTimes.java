package io.fourfold.spark;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.fourfold.config.FaultSpec;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.Optional;
import java.util.function.Predicate;

/** When things happened, from what a run folder says. */
final class FaultTimes {
    private static final ObjectMapper MAPPER = new ObjectMapper();

    private FaultTimes() {}

    /** When a fault struck first. */
    static Instant strike(Path run, FaultSpec fault) throws IOException {
        Path note =
                run.resolve("faults").resolve(fault.text().replace(' ', '_')).resolve("1");
        return Instant.parse(Files.readString(note).strip().replaceFirst(".* at ", ""));
    }

    /** Seconds from the strike until a step was finished in which or before which it struck. */
    static double toNextStep(Path run, FaultSpec fault) throws IOException {
        Instant strike = strike(run, fault);
        return seconds(
                strike, first(run, strike, line -> line.path("kind").asText().equals("step")));
    }

    /** Seconds from the strike until the first event of a kind. */
    static double toEvent(Path run, FaultSpec fault, String kind) throws IOException {
        Instant strike = strike(run, fault);
        return seconds(
                strike, first(run, strike, line -> line.path("event").asText().equals(kind)));
    }

    private static double seconds(Instant from, Optional<Instant> to) {
        return to.map(end -> Duration.between(from, end).toMillis() * 1e-3).orElse(Double.NaN);
    }

    private static Optional<Instant> first(Path run, Instant after, Predicate<JsonNode> wanted) throws IOException {
        for (String text : Files.readAllLines(run.resolve("metrics.jsonl"))) {
            JsonNode line = MAPPER.readTree(text);
            Instant time = Instant.parse(line.path("time").asText());
            if (time.isAfter(after) && wanted.test(line)) {
                return Optional.of(time);
            }
        }
        return Optional.empty();
    }
}
