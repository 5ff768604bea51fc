package io.fourfold.model;

import io.fourfold.kernels.op.WeightCodeOps;
import io.fourfold.kernels.tensor.Shape;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Which elements of one kind's flat buffer travel as codes ({@link WeightCodeOps}) and which as they are, where every rank
 * of a group updates an equal, contiguous part of it. A strip of 16 rows is coded by the rank that updates its first element;
 * what other ranks update of it is its tail, which they send to that rank as it is. Words are in the order of the strips, so
 * each rank's are contiguous. Nothing here is on a device.
 */
public final class CodeLayout {
    /** A weight in the flat buffer. */
    record Weight(String name, long offset, Shape shape) {
        /** Whether it has whole tiles. */
        boolean fits() {
            return shape.rank() >= 2
                    && shape.dim(-2) % WeightCodeOps.TILE == 0
                    && shape.dim(-1) % WeightCodeOps.TILE == 0;
        }
    }

    /**
     * Coded matrices of equal size, one behind the other.
     *
     * @param offset first element within the flat buffer
     * @param count matrices
     * @param firstWord their first word
     * @param first place of their first matrix among all of the layout
     */
    public record Matrices(String name, long offset, int count, int rows, int cols, long firstWord, int first) {
        long strip() {
            return (long) WeightCodeOps.TILE * cols;
        }

        int strips() {
            return count * (rows / WeightCodeOps.TILE);
        }

        long end() {
            return offset + strips() * strip();
        }

        /** Words of all. */
        public long words() {
            return (long) strips() * WeightCodeOps.stripWords(cols);
        }

        /** How many strips begin before an element of the flat buffer. */
        int stripsBefore(long element) {
            long inside = Math.max(0, Math.min(end(), element) - offset);
            return (int) ((inside + strip() - 1) / strip());
        }
    }

    /** Elements {@code [from, to)} of the flat buffer. */
    public record Range(long from, long to) {
        static final Range NONE = new Range(0, 0);

        public long elements() {
            return to - from;
        }

        /** What of it lies in another range. */
        public Range within(long otherFrom, long otherTo) {
            long start = Math.max(from, otherFrom);
            long end = Math.min(to, otherTo);
            return start < end ? new Range(start, end) : NONE;
        }
    }

    /** Strips {@code [firstStrip, firstStrip + strips)} of matrices, which one rank codes. */
    public record Part(Matrices of, int firstStrip, int strips) {
        /** First element in the flat buffer. */
        public long offset() {
            return of.offset + firstStrip * of.strip();
        }

        /** First word. */
        public long firstWord() {
            return of.firstWord + (long) firstStrip * WeightCodeOps.stripWords(of.cols);
        }

        public long words() {
            return (long) strips * WeightCodeOps.stripWords(of.cols);
        }
    }

    private final long shard;
    private final int ranks;
    private final List<Matrices> matrices = new ArrayList<>();
    private final Map<String, Matrices> byName = new HashMap<>();
    private final List<Range> exact = new ArrayList<>();
    private final long words;
    private final int count;

    private CodeLayout(List<Weight> weights, long elements, int ranks) {
        this.shard = elements / ranks;
        this.ranks = ranks;
        long end = 0;
        long word = 0;
        int first = 0;
        for (Weight weight : weights) {
            Shape shape = weight.shape;
            int groups = Math.toIntExact(shape.elements() / shape.dim(-1) / shape.dim(-2));
            Matrices next = new Matrices(weight.name, weight.offset, groups, shape.dim(-2), shape.dim(-1), word, first);
            if (weight.offset > end) {
                exact.add(new Range(end, weight.offset));
            }
            matrices.add(next);
            byName.put(next.name, next);
            end = next.end();
            word += next.words();
            first += groups;
        }
        if (elements > end) {
            exact.add(new Range(end, elements));
        }
        words = word;
        count = first;
    }

    /**
     * @param weights to be coded, ascending; those without whole tiles travel as they are
     * @param elements of the flat buffer
     */
    static CodeLayout of(List<Weight> weights, long elements, int ranks) {
        return new CodeLayout(weights.stream().filter(Weight::fits).toList(), elements, ranks);
    }

    /** Everything that travels as it is, ascending. */
    public List<Range> exact() {
        return List.copyOf(exact);
    }

    /** The matrices of a parameter; null when it travels as it is. */
    @Nullable
    Matrices of(String parameter) {
        return byName.get(parameter);
    }

    /** Words of all codes. */
    public long words() {
        return words;
    }

    /** How many matrices there are, each with a scale of its own. */
    public int count() {
        return count;
    }

    /** The strips that a rank codes. */
    public List<Part> parts(int rank) {
        List<Part> parts = new ArrayList<>();
        for (Matrices each : matrices) {
            int from = each.stripsBefore(rank * shard);
            int to = each.stripsBefore((rank + 1) * shard);
            if (from < to) {
                parts.add(new Part(each, from, to - from));
            }
        }
        return parts;
    }

    /** Words that each rank sends to all others. */
    public long[] wordCounts() {
        long[] counts = new long[ranks];
        for (int rank = 0; rank < ranks; rank++) {
            counts[rank] = parts(rank).stream().mapToLong(Part::words).sum();
        }
        return counts;
    }

    /** Beginning of a rank's elements that another one codes: the rest of a strip, at most all the rank has. */
    public Range tail(int rank) {
        long from = rank * shard;
        Matrices split = splitAt(from);
        return split == null
                ? Range.NONE
                : new Range(from, split.offset + split.stripsBefore(from) * split.strip()).within(from, from + shard);
    }

    /** The rank that codes a rank's tail; meaningless without one. */
    private int owner(int rank) {
        long from = rank * shard;
        Matrices split = splitAt(from);
        return split == null ? rank : (int) ((split.offset + (split.stripsBefore(from) - 1) * split.strip()) / shard);
    }

    /** The matrices that lie on both sides of an element; null where none do. */
    private @Nullable Matrices splitAt(long element) {
        for (Matrices each : matrices) {
            if (each.offset < element && element < each.end()) {
                return each;
            }
        }
        return null;
    }

    /** Elements of its tail that a rank sends to each other. */
    public long[] tailsTo(int rank) {
        long[] counts = new long[ranks];
        long elements = tail(rank).elements();
        if (elements > 0) {
            counts[owner(rank)] = elements;
        }
        return counts;
    }

    /** Elements that a rank receives from each other: the end of its last strip, right behind its own elements. */
    public long[] tailsFrom(int rank) {
        long[] counts = new long[ranks];
        for (int other = rank + 1; other < ranks; other++) {
            counts[other] = tailsTo(other)[rank];
        }
        return counts;
    }

    /** Whether some strip has a tail. */
    public boolean hasTails() {
        for (int rank = 1; rank < ranks; rank++) {
            if (tail(rank).elements() > 0) {
                return true;
            }
        }
        return false;
    }

    /** First and end element in the flat buffer of what a rank updates of each matrix, in order, without gaps in that. */
    public long[] ownBounds(int rank) {
        List<Long> bounds = new ArrayList<>();
        for (Matrices each : matrices) {
            long size = (long) each.rows * each.cols;
            for (int matrix = 0; matrix < each.count; matrix++) {
                long begin = each.offset + matrix * size;
                Range own = new Range(begin, begin + size).within(rank * shard, (rank + 1) * shard);
                if (own.elements() > 0) {
                    bounds.add(own.from);
                    bounds.add(own.to);
                }
            }
        }
        return bounds.stream().mapToLong(Long::longValue).toArray();
    }

    /** Place of the first matrix of which a rank updates something. */
    public int firstOwn(int rank) {
        int first = 0;
        for (Matrices each : matrices) {
            long size = (long) each.rows * each.cols;
            long whole = Math.max(0, Math.min(each.end(), rank * shard) - each.offset) / size;
            first += (int) whole;
        }
        return first;
    }

    /** Bytes that a rank sends to the others when codes are gathered, and all else as FP32. */
    public long bytesSent(int rank) {
        long others = ranks - 1L;
        long plain = 0;
        for (Range range : exact) {
            plain += range.within(rank * shard, (rank + 1) * shard).elements();
        }
        long share = (long) count * (rank + 1) / ranks - (long) count * rank / ranks;
        long largest = count - share + others * share;
        return Integer.BYTES
                * (others * (plain + wordCounts()[rank]) + tail(rank).elements() + largest);
    }
}
