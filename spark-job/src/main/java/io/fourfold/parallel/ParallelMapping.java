package io.fourfold.parallel;

import io.fourfold.config.ConfigException;
import io.fourfold.config.ParallelConfig;
import io.fourfold.config.ParallelRules;
import io.fourfold.config.Problem;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;

/**
 * Places the ranks of a run on two grids over the same world: attention TP x CP x DP x PP and MoE ETP x EP x EDP x PP
 * (MoE Parallel Folding, arXiv:2504.14960). The first named dimension varies fastest and PP is slowest in both, so that
 * the two grids agree on the pipeline stages whatever the other degrees are. The paper's listing puts PP before DP, which
 * breaks that whenever TP*CP differs from ETP*EP.
 *
 * <p>Ranks are numbered by (host, device), so the fastest dimensions stay inside a host where they fit.
 */
public final class ParallelMapping {
    private static final int DIMENSIONS = 4;

    private final int worldSize;
    private final int[] attention;
    private final int[] moe;

    private ParallelMapping(ParallelConfig config) {
        worldSize = config.worldSize();
        int pp = config.pipelineParallelSize();
        int tp = config.tensorParallelSize();
        int cp = config.contextParallelSize();
        int etp = config.expertTensorParallelSize();
        int ep = config.expertParallelSize();
        attention = new int[] {tp, cp, worldSize / (tp * cp * pp), pp};
        moe = new int[] {etp, ep, worldSize / (etp * ep * pp), pp};
    }

    /**
     * @throws ConfigException with every problem at once when the world does not split over both grids
     */
    public static ParallelMapping of(ParallelConfig config) {
        List<Problem> problems = ParallelRules.problems(config);
        if (!problems.isEmpty()) {
            throw new ConfigException(problems);
        }
        return new ParallelMapping(config);
    }

    public int worldSize() {
        return worldSize;
    }

    public int tensor() {
        return attention[0];
    }

    public int context() {
        return attention[1];
    }

    /** DP = world / (TP * CP * PP). */
    public int data() {
        return attention[2];
    }

    public int pipeline() {
        return attention[3];
    }

    public int expertTensor() {
        return moe[0];
    }

    public int expert() {
        return moe[1];
    }

    /** EDP = world / (ETP * EP * PP). */
    public int expertData() {
        return moe[2];
    }

    /** Ranks in each group of the axis. */
    public int size(Axis axis) {
        int size = 1;
        int[] grid = grid(axis);
        for (int d = 0; d < DIMENSIONS; d++) {
            if (axis.varies(d)) {
                size *= grid[d];
            }
        }
        return size;
    }

    /** The group of a rank, ascending; the rank itself included. */
    public List<Integer> group(Axis axis, int rank) {
        check(rank);
        return members(axis, base(axis, rank));
    }

    /** The rank's position in its group: index into {@link #group}. */
    public int coordinate(Axis axis, int rank) {
        check(rank);
        int[] grid = grid(axis);
        int coordinate = 0;
        int weight = 1;
        int rest = rank;
        for (int d = 0; d < DIMENSIONS; d++) {
            if (axis.varies(d)) {
                coordinate += rest % grid[d] * weight;
                weight *= grid[d];
            }
            rest /= grid[d];
        }
        return coordinate;
    }

    /** Every group of the axis, each ascending, in the order of their first ranks; together they partition the world. */
    public List<List<Integer>> groups(Axis axis) {
        List<List<Integer>> groups = new ArrayList<>();
        for (int rank = 0; rank < worldSize; rank++) {
            if (base(axis, rank) == rank) {
                groups.add(members(axis, rank));
            }
        }
        return groups;
    }

    /**
     * Groups whose ranks are on more than one host, by axis; an axis whose groups all stay inside is absent.
     *
     * @param ranksPerHost consecutive ranks that share a host
     */
    public Map<Axis, List<List<Integer>>> groupsLeavingHost(int ranksPerHost) {
        if (ranksPerHost < 1) {
            throw new IllegalArgumentException("ranksPerHost " + ranksPerHost + " must be at least 1");
        }
        Map<Axis, List<List<Integer>>> leaving = new EnumMap<>(Axis.class);
        for (Axis axis : Axis.values()) {
            List<List<Integer>> found = new ArrayList<>();
            for (List<Integer> group : groups(axis)) {
                if (group.get(0) / ranksPerHost != group.get(group.size() - 1) / ranksPerHost) {
                    found.add(group);
                }
            }
            if (!found.isEmpty()) {
                leaving.put(axis, found);
            }
        }
        return leaving;
    }

    private int[] grid(Axis axis) {
        return axis.moe() ? moe : attention;
    }

    /** The lowest rank of the group: the coordinates that vary set to zero. */
    private int base(Axis axis, int rank) {
        int[] grid = grid(axis);
        int base = 0;
        int stride = 1;
        int rest = rank;
        for (int d = 0; d < DIMENSIONS; d++) {
            if (!axis.varies(d)) {
                base += rest % grid[d] * stride;
            }
            rest /= grid[d];
            stride *= grid[d];
        }
        return base;
    }

    private List<Integer> members(Axis axis, int base) {
        int[] grid = grid(axis);
        List<Integer> members = List.of(base);
        int stride = worldSize;
        for (int d = DIMENSIONS - 1; d >= 0; d--) {
            stride /= grid[d];
            if (!axis.varies(d)) {
                continue;
            }
            List<Integer> next = new ArrayList<>(members.size() * grid[d]);
            for (int member : members) {
                for (int i = 0; i < grid[d]; i++) {
                    next.add(member + i * stride);
                }
            }
            members = next;
        }
        return List.copyOf(members);
    }

    private void check(int rank) {
        if (rank < 0 || rank >= worldSize) {
            throw new IndexOutOfBoundsException("rank " + rank + " is not in a world of " + worldSize);
        }
    }

    @Override
    public String toString() {
        return "W" + worldSize + " attention TP" + tensor() + " CP" + context() + " DP" + data() + " PP" + pipeline()
                + " | MoE ETP" + expertTensor() + " EP" + expert() + " EDP" + expertData() + " PP" + pipeline();
    }
}
