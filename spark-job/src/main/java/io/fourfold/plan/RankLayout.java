package io.fourfold.plan;

import io.fourfold.parallel.Axis;
import io.fourfold.parallel.ParallelMapping;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * Ranks and the groups they form.
 *
 * @param worldSize ranks in total
 * @param mapping degrees of both grids in one line
 * @param ranksPerHost consecutive ranks assumed on one host
 * @param groups axes whose groups have more than one member
 */
public record RankLayout(int worldSize, String mapping, int ranksPerHost, List<AxisGroups> groups) {
    /**
     * The groups of one axis.
     *
     * @param size members of each
     * @param count how many there are
     * @param first the group of rank 0
     * @param leavingHost how many have members on several hosts
     */
    public record AxisGroups(Axis axis, int size, int count, List<Integer> first, int leavingHost) {}

    static RankLayout of(ParallelMapping mapping, int ranksPerHost) {
        Map<Axis, List<List<Integer>>> leaving = mapping.groupsLeavingHost(ranksPerHost);
        List<AxisGroups> groups = new ArrayList<>();
        for (Axis axis : Axis.values()) {
            int size = mapping.size(axis);
            if (size > 1) {
                groups.add(new AxisGroups(
                        axis,
                        size,
                        mapping.worldSize() / size,
                        mapping.group(axis, 0),
                        leaving.getOrDefault(axis, List.of()).size()));
            }
        }
        return new RankLayout(mapping.worldSize(), mapping.toString(), ranksPerHost, List.copyOf(groups));
    }
}
