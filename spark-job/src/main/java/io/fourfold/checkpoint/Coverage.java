package io.fourfold.checkpoint;

import java.io.IOException;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** Whether the parts of all ranks hold every element of every tensor: a checkpoint with a hole must not be committed. */
final class Coverage {
    private final Map<Quantity, Map<String, List<PieceRange>>> stored = new EnumMap<>(Quantity.class);

    void add(RankIndex rank) {
        for (RankIndex.Section section : rank.sections()) {
            Map<String, List<PieceRange>> tensors =
                    stored.computeIfAbsent(section.quantity(), quantity -> new TreeMap<>());
            for (RankIndex.StoredRun run : rank.layouts().get(section.layout())) {
                tensors.computeIfAbsent(run.t(), tensor -> new ArrayList<>()).add(run.range());
            }
        }
    }

    void requireComplete(Map<String, long[]> shapes) throws IOException {
        for (Map.Entry<Quantity, Map<String, List<PieceRange>>> quantity : stored.entrySet()) {
            for (Map.Entry<String, List<PieceRange>> tensor :
                    quantity.getValue().entrySet()) {
                long[] shape = shapes.get(tensor.getKey());
                if (shape == null || !complete(shape, tensor.getValue())) {
                    throw new IOException("the ranks' parts do not hold every element of " + tensor.getKey() + " ("
                            + quantity.getKey() + "). This is an error of the program: the mapping's declarations"
                            + " leave a part of the tensor out, or a rank's index was lost");
                }
            }
        }
    }

    private static boolean complete(long[] shape, List<PieceRange> ranges) {
        long whole = Box.elements(shape);
        long sum = ranges.stream().mapToLong(PieceRange::elements).sum();
        if (sum == whole) {
            // Parts do not overlap when each element has one owner, so the sum decides.
            return true;
        }
        if (sum < whole) {
            return false;
        }
        List<Box> parts =
                ranges.stream().flatMap(range -> range.boxes().stream()).toList();
        return new Box(new long[shape.length], shape).isCoveredBy(parts);
    }
}
