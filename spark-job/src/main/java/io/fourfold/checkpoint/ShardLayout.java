package io.fourfold.checkpoint;

import io.fourfold.model.Parameter;
import io.fourfold.model.Piece;
import io.fourfold.model.Sharding;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Predicate;

/**
 * Which elements of which global tensors lie where in a rank's part (a shard) of a flat buffer. A run is contiguous in
 * the shard and in its box, so a shard is stored as it lies in memory and only the layout knows about tensors.
 *
 * @param shapes global shape of each tensor that occurs
 * @param runs in ascending position
 */
public record ShardLayout(Map<String, long[]> shapes, List<Run> runs) {
    /**
     * @param range elements of a global tensor
     * @param at position of the first one in the shard
     */
    public record Run(PieceRange range, long at) {}

    public ShardLayout {
        shapes = Map.copyOf(shapes);
        runs = List.copyOf(runs);
    }

    /** Layout of a shard that consists of slices of the flat buffer that holds {@code parameters}. */
    public static ShardLayout of(List<Parameter> parameters, List<Sharding.Slice> slices) {
        return of(parameters, slices, piece -> true);
    }

    /** As {@link #of(List, List)}, of the chosen pieces only. */
    public static ShardLayout of(List<Parameter> parameters, List<Sharding.Slice> slices, Predicate<Piece> chosen) {
        Map<String, long[]> shapes = new TreeMap<>();
        List<Run> runs = new ArrayList<>();
        for (Parameter parameter : parameters) {
            for (Sharding.Slice slice : slices) {
                if (parameter.offset() < slice.to() && parameter.offset() + parameter.elements() > slice.from()) {
                    for (Piece piece : parameter.pieces()) {
                        if (!chosen.test(piece)) {
                            continue;
                        }
                        addBlocks(piece, parameter.offset(), slice, runs);
                        shapes.put(piece.name(), piece.globalShape());
                    }
                }
            }
        }
        runs.sort((a, b) -> Long.compare(a.at(), b.at()));
        shapes.keySet().retainAll(runs.stream().map(run -> run.range().tensor()).toList());
        return new ShardLayout(shapes, runs);
    }

    /** Layout of one whole tensor. */
    public static ShardLayout whole(String name, long[] shape) {
        PieceRange range = new PieceRange(name, new long[shape.length], shape, 0, Box.elements(shape));
        return new ShardLayout(Map.of(name, shape), List.of(new Run(range, 0)));
    }

    /** Splits a piece into blocks that are contiguous in the flat buffer and keeps what lies in a slice. */
    private static void addBlocks(Piece piece, long parameterOffset, Sharding.Slice slice, List<Run> runs) {
        long[] extent = piece.extent();
        long[] strides = piece.localStrides();
        int rank = extent.length;
        int outer = rank;
        long block = 1;
        while (outer > 0 && strides[outer - 1] == block) {
            outer--;
            block *= extent[outer];
        }
        long blocks = Box.elements(extent) / block;
        long[] index = new long[rank];
        for (long b = 0; b < blocks; b++) {
            long start = parameterOffset + piece.localOffset();
            for (int i = 0; i < outer; i++) {
                start += index[i] * strides[i];
            }
            long from = Math.max(slice.from(), start);
            long to = Math.min(slice.to(), start + block);
            if (from < to) {
                long at = slice.at() + from - slice.from();
                runs.add(new Run(range(piece, index, outer, from - start, to - start), at));
            }
            for (int i = outer - 1; i >= 0 && ++index[i] == extent[i]; i--) {
                index[i] = 0;
            }
        }
    }

    private static PieceRange range(Piece piece, long[] index, int outer, long from, long to) {
        long[] offset = piece.offset().clone();
        long[] extent = piece.extent().clone();
        for (int i = 0; i < outer; i++) {
            offset[i] += index[i];
            extent[i] = 1;
        }
        return new PieceRange(piece.name(), offset, extent, from, to);
    }
}
