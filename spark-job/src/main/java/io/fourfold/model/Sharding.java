package io.fourfold.model;

import io.fourfold.config.GradientConfig;
import java.util.ArrayList;
import java.util.List;

/**
 * How the flat buffer of one kind is divided over the optimizers of the ranks that hold the same parameters. The buffer is
 * cut into buckets, and rank r of n has the r-th of n equal slices of each, so that summing or gathering a bucket is one
 * collective of equal parts in which every rank sends and receives. A rank's shard is its slices one behind the other, in
 * the order of the buffer. One bucket gives every rank one contiguous part.
 *
 * <p>Positions are elements. Nothing here is on a device.
 */
public final class Sharding {
    /**
     * Elements that a slice should be a multiple of: 512 bytes of FP32, and a whole row of FP8 gradients. Holds for all
     * buckets but the last one, which has what is left.
     */
    private static final long SLICE_UNIT = 128;

    /**
     * Elements of a slice where buckets are as large as there are ranks: 64 MiB of FP32. With a quarter of that, two GPUs took 6% longer for
     * steps with 3 G parameters.
     */
    private static final long SLICE = 16 << 20;

    /**
     * Elements {@code [from, to)} of the flat buffer, which begin at {@code at} in the shard of the rank that has them.
     */
    public record Slice(long from, long to, long at) {
        public long elements() {
            return to - from;
        }

        /** End within the shard. */
        public long end() {
            return at + to - from;
        }
    }

    private final long elements;
    private final int ranks;
    private final long bucket;

    private Sharding(long elements, int ranks, long bucket) {
        this.elements = elements;
        this.ranks = ranks;
        this.bucket = bucket;
    }

    /**
     * As few buckets as that takes, of one size but for the last one, which is a little smaller: short messages go slower ways.
     *
     * @param elements of the flat buffer, a multiple of {@code ranks}
     * @param largest elements of a bucket at most, unless that is less than one for each rank; rounded down to even slices.
     *     A rank that has it all has one bucket. {@link GradientConfig#BY_RANKS} gives slices of 16 Mi elements
     */
    public static Sharding of(long elements, int ranks, long largest) {
        if (largest == GradientConfig.BY_RANKS) {
            return of(elements, ranks, SLICE * ranks);
        }
        if (elements % ranks != 0) {
            throw new IllegalArgumentException(elements + " elements do not split evenly over " + ranks + " ranks");
        }
        if (ranks == 1 || largest >= elements) {
            return new Sharding(elements, ranks, Math.max(elements, ranks));
        }
        long unit = largest >= SLICE_UNIT * ranks ? SLICE_UNIT * ranks : ranks;
        long most = Math.max(1, largest / unit) * unit;
        long buckets = quotient(elements, most);
        return new Sharding(elements, ranks, quotient(quotient(elements, buckets), unit) * unit);
    }

    /** Rounded up. */
    private static long quotient(long dividend, long divisor) {
        return (dividend + divisor - 1) / divisor;
    }

    /** One bucket: every rank has one contiguous part. */
    public static Sharding contiguous(long elements, int ranks) {
        return of(elements, ranks, elements);
    }

    public long elements() {
        return elements;
    }

    public int ranks() {
        return ranks;
    }

    /** Elements of each rank's shard. */
    public long shard() {
        return elements / ranks;
    }

    public int buckets() {
        return Math.toIntExact(quotient(elements, bucket));
    }

    /** First element of a bucket in the flat buffer. */
    public long from(int index) {
        return index * bucket;
    }

    /** Its end. */
    public long to(int index) {
        return Math.min(elements, (index + 1) * bucket);
    }

    /** A rank's part of a bucket. */
    public Slice slice(int index, int rank) {
        long from = from(index);
        long size = (to(index) - from) / ranks;
        return new Slice(from + rank * size, from + (rank + 1) * size, from / ranks);
    }

    /** All of a rank, in the order of its shard. */
    public List<Slice> slices(int rank) {
        List<Slice> slices = new ArrayList<>();
        for (int index = 0; index < buckets(); index++) {
            slices.add(slice(index, rank));
        }
        return slices;
    }

    /** The bucket of an element of the flat buffer. */
    public int bucketOf(long element) {
        return Math.toIntExact(element / bucket);
    }

    /** The rank whose shard has an element of the flat buffer. */
    public int owner(long element) {
        int index = bucketOf(element);
        return Math.toIntExact((element - from(index)) / ((to(index) - from(index)) / ranks));
    }
}
