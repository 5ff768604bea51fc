package io.fourfold.checkpoint;

import io.fourfold.model.Parameter;
import io.fourfold.model.Piece;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Predicate;

/**
 * Which elements of which global tensors lie where in a contiguous part (a shard) of a flat buffer. A run is contiguous in
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

    /** Layout of elements {@code [first, last)} of the flat buffer that holds {@code parameters}. */
    public static ShardLayout of(List<Parameter> parameters, long first, long last) {
        return of(parameters, first, last, piece -> true);
    }

    /** As {@link #of(List, long, long)}, of the chosen pieces only. */
    public static ShardLayout of(List<Parameter> parameters, long first, long last, Predicate<Piece> chosen) {
        Map<String, long[]> shapes = new TreeMap<>();
        List<Run> runs = new ArrayList<>();
        for (Parameter parameter : parameters) {
            if (parameter.offset() < last && parameter.offset() + parameter.elements() > first) {
                for (Piece piece : parameter.pieces()) {
                    if (!chosen.test(piece)) {
                        continue;
                    }
                    addBlocks(piece, parameter.offset(), first, last, runs);
                    shapes.put(piece.name(), piece.globalShape());
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

    /** Splits a piece into blocks that are contiguous in the flat buffer and keeps what lies in the shard. */
    private static void addBlocks(Piece piece, long parameterOffset, long first, long last, List<Run> runs) {
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
            long from = Math.max(first, start);
            long to = Math.min(last, start + block);
            if (from < to) {
                runs.add(new Run(range(piece, index, outer, from - start, to - start), from - first));
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
