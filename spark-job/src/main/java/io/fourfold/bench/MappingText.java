package io.fourfold.bench;

import java.util.List;
import java.util.stream.Stream;

/**
 * A mapping in short: {@code TP2 CP2 PP1 V1 ETP1 EP4}, where what is absent is 1 and DP and EDP follow. {@code W8} gives the
 * number of ranks, {@code L1,3} the stage layout, {@code RING} passes keys and values around instead of gathering them.
 */
public final class MappingText {
    private MappingText() {}

    /**
     * Configuration settings, {@code key=value}.
     *
     * @throws IllegalArgumentException naming the word that is none of these
     */
    public static List<String> settings(String mapping) {
        return Stream.of(mapping.strip().split("\\s+"))
                .filter(word -> !word.isEmpty())
                .map(MappingText::setting)
                .toList();
    }

    private static String setting(String word) {
        String axis = word.replaceAll("[0-9,]", "");
        String value = word.substring(axis.length());
        return switch (axis) {
            case "W" -> "parallel.world_size=" + value;
            case "TP" -> "parallel.tensor_parallel_size=" + value;
            case "CP" -> "parallel.context_parallel_size=" + value;
            case "RING" -> "parallel.context_exchange=ring";
            case "PP" -> "parallel.pipeline_parallel_size=" + value;
            case "L" -> "parallel.stage_layout=[" + value + "]";
            case "V" -> "parallel.virtual_stages=" + value;
            case "ETP" -> "parallel.expert_tensor_parallel_size=" + value;
            case "EP" -> "parallel.expert_parallel_size=" + value;
            default ->
                throw new IllegalArgumentException(
                        "'" + word + "' is no part of a mapping; write for example TP2 CP2 PP2 V2 ETP2 EP4 RING");
        };
    }
}
