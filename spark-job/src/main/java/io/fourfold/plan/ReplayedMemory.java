package io.fourfold.plan;

import io.fourfold.kernels.tensor.LentMemory;
import io.fourfold.kernels.tensor.Region;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;

/** Counts the bytes of a replayed step by region, with the bookkeeping that places tensors in lent memory on a GPU. */
final class ReplayedMemory {
    /** Alignment of the device's arena. */
    private static final long ALIGNMENT = 512;

    private final LentMemory lent;
    private final Map<Region, Long> used = new EnumMap<>(Region.class);
    private final Map<Region, Long> peak = new EnumMap<>(Region.class);

    /**
     * @param ranges memory that is lent, in the order in which it is reclaimed; may be empty
     */
    ReplayedMemory(List<LentMemory.Range> ranges) {
        lent = new LentMemory(ranges, ALIGNMENT);
    }

    /** A scope that is closed before range {@code until} is reclaimed. */
    Scope scope(Region region, int until) {
        return new Scope(region, until);
    }

    /** Longer than anything is lent. */
    int never() {
        return lent.never();
    }

    void reclaim(int range) {
        if (range < lent.never()) {
            lent.reclaim(range);
        }
    }

    /** Bytes in use that do not lie in lent memory. */
    long used(Region region) {
        return used.getOrDefault(region, 0L);
    }

    /** Most bytes at a time that did not lie in lent memory. */
    long peak(Region region) {
        return peak.getOrDefault(region, 0L);
    }

    /** Most bytes at a time that did. */
    long lentPeak() {
        return lent.peak();
    }

    private void count(Region region, long bytes) {
        long now = used.merge(region, bytes, Long::sum);
        peak.merge(region, now, Math::max);
    }

    /** Allocations that are released together. */
    final class Scope implements AutoCloseable {
        private final Region region;
        private final int until;
        private final List<Long> pieces = new ArrayList<>();
        private long own;

        private Scope(Region region, int until) {
            this.region = region;
            this.until = until;
        }

        /** One tensor each. */
        Scope add(long... tensors) {
            for (long bytes : tensors) {
                long address = bytes == 0 ? LentMemory.NONE : lent.take(bytes, until, region);
                if (address == LentMemory.NONE) {
                    own += bytes;
                    count(region, bytes);
                } else {
                    pieces.add(address);
                }
            }
            return this;
        }

        @Override
        public void close() {
            pieces.forEach(lent::release);
            pieces.clear();
            count(region, -own);
            own = 0;
        }
    }
}
