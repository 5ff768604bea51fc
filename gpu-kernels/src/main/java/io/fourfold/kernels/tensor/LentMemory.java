package io.fourfold.kernels.tensor;

import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * The bookkeeping of a {@link Lending}: which addresses are free, and until when. A piece that is to be released before range
 * i is reclaimed may lie in range i and all later ones. Activations get the lowest free place that begins in the latest range,
 * workspace the highest that ends in the earliest. Forward comes first to the activations that live longest; so with ranges
 * that are reclaimed from the highest address to the lowest, they lie like a stack, short-lived workspace lies at the other
 * end, and what is free is in one part. Ranges that touch are one memory: a piece may lie across them. Addresses are any
 * numbers in one unit.
 */
public final class LentMemory {
    /** What {@link #take} returns when nothing fits. */
    public static final long NONE = -1;

    /**
     * Memory that can be lent.
     *
     * @param name for messages
     */
    public record Range(String name, long address, long size) {
        long end() {
            return address + size;
        }
    }

    private record Piece(long size, Region region) {}

    private static final int NOWHERE = -1;

    /** Where a piece could lie, and the range at that end of the stretch. */
    private record Place(long start, int range) {}

    private final List<Range> ranges;
    private final TreeMap<Long, Integer> byAddress = new TreeMap<>();
    private final boolean[] reclaimed;
    private final long alignment;
    /** End of each free stretch by its start; says nothing about who may have it. */
    private final TreeMap<Long, Long> free = new TreeMap<>();

    private final TreeMap<Long, Piece> lent = new TreeMap<>();
    private long used;
    private long peak;

    /**
     * @param ranges in the order in which they are reclaimed, disjoint
     * @param alignment of the pieces' addresses and sizes
     */
    public LentMemory(List<Range> ranges, long alignment) {
        this.ranges = List.copyOf(ranges);
        this.alignment = alignment;
        reclaimed = new boolean[ranges.size()];
        for (int i = 0; i < ranges.size(); i++) {
            byAddress.put(ranges.get(i).address(), i);
            free(ranges.get(i).address(), ranges.get(i).end());
        }
    }

    /** Number of ranges; as {@code until} it means: longer than anything is lent. */
    public int never() {
        return ranges.size();
    }

    /** Lent now. */
    public long used() {
        return used;
    }

    /** Most that was lent at a time. */
    public long peak() {
        return peak;
    }

    /**
     * @param until the piece is released before this range is reclaimed
     * @return an address, or {@link #NONE}
     */
    public long take(long size, int until, Region region) {
        long whole = Math.max(alignment, (size + alignment - 1) / alignment * alignment);
        boolean high = region == Region.WORKSPACE;
        Place best = null;
        for (Map.Entry<Long, Long> stretch : until < never() ? free.entrySet() : List.<Map.Entry<Long, Long>>of()) {
            if (stretch.getValue() - stretch.getKey() >= whole) {
                best = better(best, stretch.getKey(), stretch.getValue(), whole, until, high);
            }
        }
        if (best == null) {
            return NONE;
        }
        occupy(best.start(), whole, region);
        return best.start();
    }

    /** The best of {@code best} and the places in one free stretch. */
    private @Nullable Place better(@Nullable Place best, long from, long to, long size, int until, boolean high) {
        Place result = best;
        long start = from;
        long end = from;
        int bottom = NOWHERE;
        int top = NOWHERE;
        Long first = byAddress.floorKey(from);
        for (int index :
                byAddress.subMap(first == null ? from : first, true, to, false).values()) {
            Range range = ranges.get(index);
            if (range.end() <= from || index < until || reclaimed[index]) {
                continue;
            }
            if (bottom == NOWHERE || range.address() > end) {
                result = better(result, high ? highest(start, end, size, top) : lowest(start, end, size, bottom), high);
                start = Math.max(from, range.address());
                bottom = index;
            }
            end = Math.min(to, range.end());
            top = index;
        }
        return better(result, high ? highest(start, end, size, top) : lowest(start, end, size, bottom), high);
    }

    private static @Nullable Place better(@Nullable Place a, @Nullable Place b, boolean high) {
        if (a == null || b == null) {
            return a == null ? b : a;
        }
        return (high ? b.range() < a.range() : b.range() > a.range()) ? b : a;
    }

    /**
     * @param start of a stretch to {@code end} that is free for long enough
     * @param bottom the range in which it begins
     */
    private @Nullable Place lowest(long start, long end, long size, int bottom) {
        long at = Math.floorDiv(start + alignment - 1, alignment) * alignment;
        return at + size <= end ? new Place(at, bottom) : null;
    }

    /**
     * @param top the range in which the stretch ends
     */
    private @Nullable Place highest(long start, long end, long size, int top) {
        long at = Math.floorDiv(end - size, alignment) * alignment;
        return at >= start ? new Place(at, top) : null;
    }

    private void occupy(long start, long size, Region region) {
        Map.Entry<Long, Long> stretch = Objects.requireNonNull(free.floorEntry(start));
        long end = stretch.getValue();
        free.remove(stretch.getKey());
        if (stretch.getKey() < start) {
            free.put(stretch.getKey(), start);
        }
        if (start + size < end) {
            free.put(start + size, end);
        }
        lent.put(start, new Piece(size, region));
        used += size;
        peak = Math.max(peak, used);
    }

    /** True for the address of a piece. */
    public boolean holds(long address) {
        return lent.containsKey(address);
    }

    /** Gives back a piece. */
    public void release(long address) {
        Piece piece = lent.remove(address);
        if (piece == null) {
            throw new IllegalArgumentException("nothing is lent at " + address);
        }
        used -= piece.size();
        free(address, address + piece.size());
    }

    private void free(long from, long to) {
        long start = from;
        long end = to;
        Map.Entry<Long, Long> before = free.floorEntry(from);
        if (before != null && before.getValue() == from) {
            start = before.getKey();
        }
        Long after = free.remove(to);
        if (after != null) {
            end = after;
        }
        free.put(start, end);
    }

    /**
     * Ends the lending of a range.
     *
     * @throws IllegalStateException when a piece lies in it
     */
    public void reclaim(int index) {
        Range range = ranges.get(index);
        Map.Entry<Long, Piece> last = lent.lowerEntry(range.end());
        if (last != null && last.getKey() + last.getValue().size() > range.address()) {
            throw new IllegalStateException(String.format(
                    "%s is about to be written, but %,d bytes of %s still lie in its memory: they live longer than the"
                            + " scope they were allocated in says",
                    range.name(), last.getValue().size(), last.getValue().region()));
        }
        reclaimed[index] = true;
    }

    /**
     * Ends the lending.
     *
     * @throws IllegalStateException when a piece is still lent
     */
    public void close() {
        if (!lent.isEmpty()) {
            Piece piece = lent.firstEntry().getValue();
            throw new IllegalStateException(String.format(
                    "%,d pieces are still lent at the end of the lending, the first %,d bytes of %s",
                    lent.size(), piece.size(), piece.region()));
        }
    }
}
