package io.fourfold.model;

import io.fourfold.bench.MappingText;
import java.util.List;
import java.util.stream.Stream;

/**
 * The mappings that must train like one rank, in the form of {@link MappingText}. A new axis joins by adding lines here.
 */
final class LawMappings {
    /** Every axis alone, some pairs and triples; few enough for every build. */
    static final List<String> SMALL = List.of(
            "W2", // DP
            "W2 EP2",
            "W4 EP2",
            "W4 EP4",
            "W8 EP4",
            "W16 EP16",
            "W2 TP2",
            "W4 TP4",
            "W2 CP2",
            "W4 CP4",
            "W4 TP2 CP2",
            "W2 CP2 RING",
            "W8 TP2 CP4 EP4 RING",
            "W4 TP2 EP4",
            "W8 TP2 CP2 EP4",
            "W2 ETP2",
            "W4 ETP2",
            "W4 ETP2 EP2",
            "W2 PP2",
            "W2 PP2 V2",
            "W4 PP4 L0,1,3,0", // embedding and head on stages of their own
            "W4 PP2 EP2 L1,3",
            "W8 PP4 EP2",
            "W8 TP2 PP2 V2 EP2",
            "W16 TP2 CP2 PP2 EP8");

    /** With SMALL, all of them. */
    private static final List<String> MORE = List.of(
            "W4",
            "W8",
            "W16",
            "W8 EP2",
            "W8 EP8",
            "W16 EP2",
            "W16 EP8",
            "W4 TP2",
            "W4 CP2",
            "W4 TP2 EP2",
            "W4 CP2 EP2",
            "W4 CP2 EP4",
            "W4 TP2 ETP2",
            "W4 TP2 ETP2 EP2",
            "W4 CP2 ETP2 EP2",
            "W8 TP2 EP2",
            "W8 TP2 EP8",
            "W8 TP4 CP2",
            "W8 TP4 EP8",
            "W8 TP2 CP4",
            "W8 CP4 EP2",
            "W8 CP8",
            "W4 CP4 RING",
            "W8 CP8 EP2 RING",
            "W8 CP2 EP4 RING",
            "W8 TP4 CP2 RING",
            "W8 CP4 PP2 V2 EP2 RING",
            "W16 TP4 CP4 EP16 RING",
            "W16 TP2 CP2 PP2 ETP2 EP4 RING",
            "W8 TP2 CP2 EP8",
            "W8 TP2 CP2 ETP2",
            "W8 TP2 CP2 ETP2 EP4",
            "W8 TP2 ETP4",
            "W8 TP4 ETP2 EP4",
            "W16 TP2 CP2",
            "W16 TP2 CP2 EP16",
            "W16 TP2 CP2 EP4",
            "W16 TP4 CP2 EP2",
            "W16 TP4 CP4",
            "W16 TP2 CP8 EP16",
            "W16 CP4 ETP2 EP8",
            "W16 TP4 ETP2 EP2",
            "W4 ETP4",
            "W8 ETP2 EP2",
            "W8 ETP2 EP4",
            "W16 ETP4 EP4",
            "W16 ETP2 EP4",
            "W2 PP2 L3,1",
            "W4 PP4",
            "W4 PP2",
            "W4 PP2 V2",
            "W4 PP2 V2 L0,2,1,1",
            "W8 PP2 EP4",
            "W8 PP2 V2 EP2",
            "W16 PP4 EP4",
            "W16 PP2 EP8",
            "W16 TP2 CP2 EP8",
            "W4 TP2 PP2",
            "W4 CP2 PP2 EP2",
            "W8 TP2 CP2 PP2",
            "W8 TP2 PP4",
            "W16 TP2 CP2 PP2 ETP2 EP4",
            "W16 TP4 PP2 V2 EP8",
            "W16 CP4 PP2 ETP2 EP2",
            "W4 CP2 PP2",
            "W4 PP2 ETP2",
            "W8 TP2 PP4 L1,1,2,0",
            "W8 TP2 PP2 EP4",
            "W8 TP2 PP2 V2 ETP2 EP2",
            "W16 TP2 PP2 V2 EP4",
            "W16 CP2 PP4 EP4",
            "W16 TP2 CP2 PP4 ETP2 EP2");

    private LawMappings() {}

    static List<String> all() {
        return Stream.concat(SMALL.stream(), MORE.stream()).toList();
    }

    /** Configuration settings of a mapping. */
    static String[] settings(String mapping) {
        return MappingText.settings(mapping).toArray(String[]::new);
    }
}
