package io.fourfold.model;

import io.fourfold.kernels.op.WeightCodeOps;
import io.fourfold.kernels.tensor.Shape;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Which elements of one kind's flat buffer travel as codes ({@link WeightCodeOps}) and which as they are, where the ranks of
 * a group update equal slices of each of its buckets ({@link Sharding}). A strip of 16 rows is coded by the rank that updates
 * its first element; what other ranks update of it are its tails, which they send to that rank as they are. Words are in the
 * order of the strips, so those of a bucket are contiguous, and of each rank within it. Nothing here is on a device.
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

    /** Elements that rank {@code from} updates and rank {@code to} codes, because the strip that they belong to begins there. */
    public record Tail(Range range, int from, int to) {}

    /**
     * Elements of one matrix.
     *
     * @param matrix its place among all of the layout
     */
    public record MatrixRange(int matrix, Range range) {}

    private final Sharding sharding;
    private final List<Matrices> matrices = new ArrayList<>();
    private final Map<String, Matrices> byName = new HashMap<>();
    private final List<Range> exact = new ArrayList<>();
    private final List<Tail> tails = new ArrayList<>();
    private final long words;
    private final int count;

    private CodeLayout(List<Weight> weights, Sharding sharding) {
        this.sharding = sharding;
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
        if (sharding.elements() > end) {
            exact.add(new Range(end, sharding.elements()));
        }
        words = word;
        count = first;
        for (int bucket = 0; bucket < sharding.buckets(); bucket++) {
            for (int rank = 0; rank < sharding.ranks(); rank++) {
                addTail(sharding.slice(bucket, rank), rank);
            }
        }
    }

    /** What of a slice belongs to a strip that begins before it: its beginning, at most all of it. */
    private void addTail(Sharding.Slice slice, int rank) {
        int index = firstEndingAfter(slice.from());
        if (index == matrices.size() || matrices.get(index).offset >= slice.from()) {
            return;
        }
        Matrices split = matrices.get(index);
        int before = split.stripsBefore(slice.from());
        Range range = new Range(slice.from(), split.offset + before * split.strip()).within(slice.from(), slice.to());
        int owner = sharding.owner(split.offset + (before - 1) * split.strip());
        if (range.elements() > 0 && owner != rank) {
            tails.add(new Tail(range, rank, owner));
        }
    }

    /** Index of the first matrices whose end lies behind an element. */
    private int firstEndingAfter(long element) {
        int low = 0;
        int high = matrices.size();
        while (low < high) {
            int middle = (low + high) / 2;
            if (matrices.get(middle).end() > element) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        return low;
    }

    /**
     * @param weights to be coded, ascending; those without whole tiles travel as they are
     * @param sharding of the flat buffer
     */
    static CodeLayout of(List<Weight> weights, Sharding sharding) {
        return new CodeLayout(weights.stream().filter(Weight::fits).toList(), sharding);
    }

    public Sharding sharding() {
        return sharding;
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

    /** The strips that a rank codes, ascending. */
    public List<Part> parts(int rank) {
        List<Part> parts = new ArrayList<>();
        for (Sharding.Slice slice : sharding.slices(rank)) {
            addParts(slice, parts);
        }
        return parts;
    }

    private void addParts(Sharding.Slice slice, List<Part> parts) {
        for (int i = firstEndingAfter(slice.from()); i < matrices.size() && matrices.get(i).offset < slice.to(); i++) {
            Matrices each = matrices.get(i);
            int from = each.stripsBefore(slice.from());
            int to = each.stripsBefore(slice.to());
            if (from < to) {
                parts.add(new Part(each, from, to - from));
            }
        }
    }

    /** Words of the strips that begin before a bucket. */
    public long firstWord(int bucket) {
        int index = firstEndingAfter(sharding.from(bucket));
        if (index == matrices.size()) {
            return words;
        }
        Matrices next = matrices.get(index);
        return next.firstWord + (long) next.stripsBefore(sharding.from(bucket)) * WeightCodeOps.stripWords(next.cols);
    }

    /** Words of the strips that begin in a bucket, which each rank sends to all others. */
    public long[] wordCounts(int bucket) {
        long[] counts = new long[sharding.ranks()];
        for (int rank = 0; rank < counts.length; rank++) {
            counts[rank] = words(sharding.slice(bucket, rank));
        }
        return counts;
    }

    private long words(Sharding.Slice slice) {
        List<Part> parts = new ArrayList<>();
        addParts(slice, parts);
        return parts.stream().mapToLong(Part::words).sum();
    }

    /** What a rank sends ahead, by receiving rank and then ascending. */
    public List<Tail> tailsFrom(int rank) {
        return tails.stream()
                .filter(tail -> tail.from == rank)
                .sorted(Comparator.comparingInt(Tail::to))
                .toList();
    }

    /** What a rank is sent, by sending rank and then ascending. */
    public List<Tail> tailsTo(int rank) {
        return tails.stream()
                .filter(tail -> tail.to == rank)
                .sorted(Comparator.comparingInt(Tail::from))
                .toList();
    }

    /** Whether some strip has a tail. */
    public boolean hasTails() {
        return !tails.isEmpty();
    }

    /** What a rank updates of matrices. */
    public List<MatrixRange> ownRanges(int rank) {
        List<MatrixRange> ranges = new ArrayList<>();
        for (Sharding.Slice slice : sharding.slices(rank)) {
            for (int i = firstEndingAfter(slice.from());
                    i < matrices.size() && matrices.get(i).offset < slice.to();
                    i++) {
                Matrices each = matrices.get(i);
                long size = (long) each.rows * each.cols;
                int matrix = (int) (Math.max(0, slice.from() - each.offset) / size);
                for (; matrix < each.count && each.offset + matrix * size < slice.to(); matrix++) {
                    long begin = each.offset + matrix * size;
                    ranges.add(new MatrixRange(
                            each.first + matrix, new Range(begin, begin + size).within(slice.from(), slice.to())));
                }
            }
        }
        return ranges;
    }

    /** Bytes that a rank sends to the others when codes are gathered, and all else as FP32. */
    public long bytesSent(int rank) {
        int ranks = sharding.ranks();
        long others = ranks - 1L;
        long plain = 0;
        for (Range range : exact) {
            for (int bucket = sharding.bucketOf(range.from); bucket <= sharding.bucketOf(range.to - 1); bucket++) {
                Sharding.Slice slice = sharding.slice(bucket, rank);
                plain += range.within(slice.from(), slice.to()).elements();
            }
        }
        long coded = sharding.slices(rank).stream().mapToLong(this::words).sum();
        long ahead = tailsFrom(rank).stream()
                .mapToLong(tail -> tail.range.elements())
                .sum();
        long share = (long) count * (rank + 1) / ranks - (long) count * rank / ranks;
        long largest = count - share + others * share;
        return Integer.BYTES * (others * (plain + coded) + ahead + largest);
    }
}
