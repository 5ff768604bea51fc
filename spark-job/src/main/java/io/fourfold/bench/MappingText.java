package io.fourfold.bench;

import io.fourfold.config.ParallelConfig;
import java.util.List;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * A mapping in short: {@code TP2 CP2 PP1 V1 ETP1 EP4}, where what is absent is 1 and DP and EDP follow. {@code W8} gives the
 * number of ranks, {@code L1,3} the stage layout, {@code RING} passes keys and values around instead of gathering them.
 * {@code DP2} sets nothing: {@link #checkDataParallel} compares it with what follows.
 */
public final class MappingText {
    private static final Pattern WORD = Pattern.compile("(RING)|(L)(\\d+(?:,\\d+)*)|(W|DP|TP|CP|PP|V|ETP|EP)(\\d+)");

    private MappingText() {}

    /**
     * Configuration settings, {@code key=value}.
     *
     * @throws IllegalArgumentException naming the word that is none of these
     */
    public static List<String> settings(String mapping) {
        return words(mapping).flatMap(word -> setting(word).stream()).toList();
    }

    /**
     * Refuses data parallelism other than what the ranks and the other degrees leave.
     *
     * @throws IllegalArgumentException naming the word
     */
    public static void checkDataParallel(String mapping, ParallelConfig parallel) {
        int left = parallel.worldSize()
                / parallel.tensorParallelSize()
                / parallel.contextParallelSize()
                / parallel.pipelineParallelSize();
        words(mapping)
                .filter(word -> word.startsWith("DP") && !word.equals("DP" + left))
                .forEach(word -> {
                    throw new IllegalArgumentException("'" + word + "': data parallelism is what is left of the "
                            + parallel.worldSize() + " ranks, here DP" + left
                            + "; leave the word out, or write an empty mapping for data parallelism alone");
                });
    }

    private static Stream<String> words(String mapping) {
        return Stream.of(mapping.strip().split("\\s+")).filter(word -> !word.isEmpty());
    }

    private static Optional<String> setting(String word) {
        Matcher parts = WORD.matcher(word);
        if (!parts.matches()) {
            throw new IllegalArgumentException("'" + word + "' is no part of a mapping; write TPn, CPn, PPn, Vn, EPn,"
                    + " ETPn with a number for n, Ln,n,... (blocks of each stage) or RING, for example 'TP2 EP4'");
        }
        if (parts.group(1) != null) {
            return Optional.of("parallel.context_exchange=ring");
        }
        if (parts.group(2) != null) {
            return Optional.of("parallel.stage_layout=[" + parts.group(3) + "]");
        }
        String value = "=" + parts.group(5);
        return switch (parts.group(4)) {
            case "W" -> Optional.of("parallel.world_size" + value);
            case "TP" -> Optional.of("parallel.tensor_parallel_size" + value);
            case "CP" -> Optional.of("parallel.context_parallel_size" + value);
            case "PP" -> Optional.of("parallel.pipeline_parallel_size" + value);
            case "V" -> Optional.of("parallel.virtual_stages" + value);
            case "ETP" -> Optional.of("parallel.expert_tensor_parallel_size" + value);
            case "EP" -> Optional.of("parallel.expert_parallel_size" + value);
            default -> Optional.empty(); // DP follows
        };
    }
}
