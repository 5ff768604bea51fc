package io.fourfold.parallel;

import io.fourfold.kernels.comm.CommunicationWorld;
import io.fourfold.kernels.comm.Communicator;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.EnumMap;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.stream.IntStream;

/** The communicators of one rank: one per axis, made in the same order on every rank, closed in reverse. */
public final class ProcessGroups implements AutoCloseable {
    private final ParallelMapping mapping;
    private final int rank;
    private final Communicator world;
    private final Map<Axis, Communicator> groups = new EnumMap<>(Axis.class);

    private ProcessGroups(ParallelMapping mapping, CommunicationWorld world) {
        this.mapping = mapping;
        this.rank = world.rank();
        this.world =
                world.group("world", IntStream.range(0, world.size()).boxed().toList());
    }

    /**
     * Collective: every rank of the world calls it.
     *
     * @throws IllegalArgumentException when the world has another size than the mapping
     */
    public static ProcessGroups create(ParallelMapping mapping, CommunicationWorld world) {
        if (mapping.worldSize() != world.size()) {
            throw new IllegalArgumentException("the mapping is for " + mapping.worldSize() + " ranks, the world has "
                    + world.size() + ": start as many tasks as parallel.world_size says");
        }
        ProcessGroups groups = new ProcessGroups(mapping, world);
        try {
            for (Axis axis : Axis.values()) {
                groups.groups.put(axis, world.group(axis.label(), mapping.group(axis, groups.rank)));
            }
        } catch (RuntimeException e) {
            try {
                groups.close();
            } catch (RuntimeException suppressed) {
                e.addSuppressed(suppressed);
            }
            throw e;
        }
        return groups;
    }

    public ParallelMapping mapping() {
        return mapping;
    }

    /** World rank. */
    public int rank() {
        return rank;
    }

    /** This rank's group along an axis; a group of one works too. */
    public Communicator get(Axis axis) {
        return Objects.requireNonNull(groups.get(axis));
    }

    /** Bytes this rank has sent so far, by {@link Axis#label}; axes without any are absent. */
    public Map<String, Long> bytesSent() {
        Map<String, Long> bytes = new TreeMap<>();
        groups.forEach((axis, group) -> {
            if (group.bytesSent() > 0) {
                bytes.put(axis.label(), group.bytesSent());
            }
        });
        return bytes;
    }

    /** All ranks. */
    public Communicator world() {
        return world;
    }

    /** Closes every communicator, the last made first; the world itself stays open. */
    @Override
    public void close() {
        Deque<Communicator> open = new ArrayDeque<>();
        open.push(world);
        groups.values().forEach(open::push);
        RuntimeException first = null;
        while (!open.isEmpty()) {
            try {
                open.pop().close();
            } catch (RuntimeException e) {
                if (first == null) {
                    first = e;
                } else {
                    first.addSuppressed(e);
                }
            }
        }
        if (first != null) {
            throw first;
        }
    }
}
