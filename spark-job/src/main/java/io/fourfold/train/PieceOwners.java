package io.fourfold.train;

import io.fourfold.checkpoint.Box;
import io.fourfold.kernels.Backend;
import io.fourfold.model.Parameter;
import io.fourfold.model.ParameterStore;
import io.fourfold.model.Piece;
import io.fourfold.optim.ShardedAdamW;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumMap;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;

/**
 * Who writes what: a piece that several groups of ranks hold (norms on every tensor parallel rank, an embedding tied to the
 * head of another stage) is written by the first of them. Found by asking all ranks what they hold, once, so that it is
 * right for any declarations.
 *
 * <p>A group here is the ranks over which a kind's optimizer state is sharded. They hold the same pieces, so their first
 * rank, the leader, speaks for them.
 */
final class PieceOwners {
    private static final String FIELD = "\t";
    private static final String STATE = "state";

    private final int rank;
    private final Map<Parameter.Kind, Integer> leaders = new EnumMap<>(Parameter.Kind.class);

    /** Boxes by tensor that earlier groups hold, for each kind of this rank. */
    private final Map<Parameter.Kind, Map<String, List<Box>>> earlier = new EnumMap<>(Parameter.Kind.class);

    private final Map<String, Integer> firstWithState = new HashMap<>();

    private PieceOwners(int rank) {
        this.rank = rank;
    }

    /** Collective over the world and over each kind's optimizer group. */
    static PieceOwners agree(Backend backend, ParameterStore store, ShardedAdamW optimizer, WorldAgreement world) {
        PieceOwners owners = new PieceOwners(world.rank());
        Set<Parameter.Kind> led = EnumSet.noneOf(Parameter.Kind.class);
        for (Parameter.Kind kind : Parameter.Kind.values()) {
            WorldAgreement group = new WorldAgreement(backend, optimizer.replicas(kind));
            int leader = Integer.parseInt(group.fromFirstRank(Integer.toString(world.rank())));
            owners.leaders.put(kind, leader);
            owners.earlier.put(kind, new HashMap<>());
            if (leader == world.rank()) {
                led.add(kind);
            }
        }
        List<String> announced = world.gather(led.isEmpty() ? "" : announcement(store, led));
        for (int speaker = 0; speaker < announced.size(); speaker++) {
            for (String line : announced.get(speaker).lines().toList()) {
                owners.heard(speaker, line.split(FIELD, -1));
            }
        }
        return owners;
    }

    private static String announcement(ParameterStore store, Set<Parameter.Kind> kinds) {
        Set<String> lines = new TreeSet<>();
        for (Parameter parameter : store.parameters()) {
            if (kinds.contains(parameter.kind())) {
                for (Piece piece : parameter.pieces()) {
                    lines.add(String.join(
                            FIELD, parameter.kind().name(), piece.name(), text(piece.offset()), text(piece.extent())));
                }
            }
        }
        store.state().keySet().forEach(name -> lines.add(STATE + FIELD + name));
        return String.join("\n", lines);
    }

    private void heard(int speaker, String[] fields) {
        if (fields[0].equals(STATE)) {
            firstWithState.putIfAbsent(fields[1], speaker);
            return;
        }
        Parameter.Kind spoken = Parameter.Kind.valueOf(fields[0]);
        Box box = new Box(numbers(fields[2]), numbers(fields[3]));
        leaders.forEach((kind, leader) -> {
            if (speaker < leader || (speaker == leader && spoken.ordinal() < kind.ordinal())) {
                Objects.requireNonNull(earlier.get(kind))
                        .computeIfAbsent(fields[1], tensor -> new ArrayList<>())
                        .add(box);
            }
        });
    }

    /** True when no earlier group holds all of the piece. */
    boolean owns(Parameter.Kind kind, Piece piece) {
        List<Box> others = Objects.requireNonNull(earlier.get(kind)).getOrDefault(piece.name(), List.of());
        return !new Box(piece.offset(), piece.extent()).isCoveredBy(others);
    }

    /** True on the first rank that announced the state. */
    boolean ownsState(String name) {
        return firstWithState.getOrDefault(name, -1) == rank;
    }

    private static String text(long[] numbers) {
        return Arrays.stream(numbers).mapToObj(Long::toString).collect(Collectors.joining(","));
    }

    private static long[] numbers(String text) {
        return text.isEmpty()
                ? new long[0]
                : Arrays.stream(text.split(",", -1)).mapToLong(Long::parseLong).toArray();
    }
}
