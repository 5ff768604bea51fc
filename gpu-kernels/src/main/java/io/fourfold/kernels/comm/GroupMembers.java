package io.fourfold.kernels.comm;

import java.util.List;

/** What every world demands of the members of a group. */
final class GroupMembers {
    private GroupMembers() {}

    /**
     * The members, checked.
     *
     * @throws IllegalArgumentException when they are not ascending world ranks with this rank among them
     */
    static List<Integer> of(String name, List<Integer> worldRanks, int rank, int size) {
        List<Integer> members = List.copyOf(worldRanks);
        for (int i = 0; i < members.size(); i++) {
            int member = members.get(i);
            if (member < 0 || member >= size || (i > 0 && member <= members.get(i - 1))) {
                throw new IllegalArgumentException(
                        "group '" + name + "' needs ascending world ranks below " + size + ", got " + members);
            }
        }
        if (!members.contains(rank)) {
            throw new IllegalArgumentException("rank " + rank + " is not a member of group '" + name + "' " + members);
        }
        return members;
    }
}
