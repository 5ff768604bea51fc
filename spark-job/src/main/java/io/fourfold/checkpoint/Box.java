package io.fourfold.checkpoint;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * A box of a tensor.
 *
 * @param offset first index in each dimension
 * @param extent size in each dimension
 */
public record Box(long[] offset, long[] extent) {
    public Box {
        if (offset.length != extent.length) {
            throw new IllegalArgumentException(
                    "box with " + offset.length + " offsets and " + extent.length + " extents");
        }
    }

    public long elements() {
        return elements(extent);
    }

    static long elements(long[] extent) {
        long n = 1;
        for (long e : extent) {
            n *= e;
        }
        return n;
    }

    /** What both boxes hold; null when nothing. */
    public @Nullable Box intersect(Box other) {
        int rank = offset.length;
        long[] start = new long[rank];
        long[] size = new long[rank];
        for (int i = 0; i < rank; i++) {
            start[i] = Math.max(offset[i], other.offset[i]);
            size[i] = Math.min(offset[i] + extent[i], other.offset[i] + other.extent[i]) - start[i];
            if (size[i] <= 0) {
                return null;
            }
        }
        return new Box(start, size);
    }

    /** What this box holds and the other does not, as disjoint boxes. */
    public List<Box> minus(Box other) {
        Box common = intersect(other);
        if (common == null) {
            return List.of(this);
        }
        List<Box> rest = new ArrayList<>();
        long[] start = offset.clone();
        long[] size = extent.clone();
        for (int i = 0; i < offset.length; i++) {
            // Slabs before and after the common part; what remains is as narrow as that part in dimension i.
            long end = start[i] + size[i];
            long commonEnd = common.offset[i] + common.extent[i];
            addSlab(rest, start, size, i, start[i], common.offset[i]);
            addSlab(rest, start, size, i, commonEnd, end);
            start[i] = common.offset[i];
            size[i] = common.extent[i];
        }
        return rest;
    }

    /** True when the others together hold every element of this box. */
    public boolean isCoveredBy(List<Box> others) {
        return minus(List.of(this), others).isEmpty();
    }

    private static void addSlab(List<Box> rest, long[] start, long[] size, int dim, long from, long to) {
        if (from < to) {
            long[] slabStart = start.clone();
            long[] slabSize = size.clone();
            slabStart[dim] = from;
            slabSize[dim] = to - from;
            rest.add(new Box(slabStart, slabSize));
        }
    }

    /** What none of {@code others} holds of {@code boxes}. */
    static List<Box> minus(List<Box> boxes, List<Box> others) {
        List<Box> rest = boxes;
        for (Box other : others) {
            List<Box> next = new ArrayList<>();
            rest.forEach(box -> next.addAll(box.minus(other)));
            rest = next;
        }
        return rest;
    }

    /** Row-major position of a global index within this box. */
    public long position(long[] index) {
        long position = 0;
        for (int i = 0; i < offset.length; i++) {
            position = position * extent[i] + index[i] - offset[i];
        }
        return position;
    }

    /** Calls back for each longest run of elements of this box that is contiguous both in {@code a} and in {@code b}. */
    void forEachRun(Box a, Box b, RunConsumer consumer) {
        int rank = offset.length;
        int dim = rank;
        long run = 1;
        while (dim > 0) {
            dim--;
            run *= extent[dim];
            if (extent[dim] != a.extent[dim] || extent[dim] != b.extent[dim]) {
                break;
            }
        }
        long[] index = offset.clone();
        long runs = rank == 0 ? 1 : elements() / run;
        for (long i = 0; i < runs; i++) {
            consumer.accept(a.position(index), b.position(index), run);
            for (int d = dim - 1; d >= 0; d--) {
                if (++index[d] < offset[d] + extent[d]) {
                    break;
                }
                index[d] = offset[d];
            }
        }
    }

    /** Receives runs: position in the first box, in the second, and length. */
    @FunctionalInterface
    interface RunConsumer {
        void accept(long first, long second, long length);
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof Box box && Arrays.equals(offset, box.offset) && Arrays.equals(extent, box.extent);
    }

    @Override
    public int hashCode() {
        return 31 * Arrays.hashCode(offset) + Arrays.hashCode(extent);
    }

    @Override
    public String toString() {
        return "offset " + Arrays.toString(offset) + " extent " + Arrays.toString(extent);
    }
}
