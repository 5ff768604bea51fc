package io.fourfold.kernels.cuda;

import io.fourfold.kernels.tensor.LentMemory;
import io.fourfold.kernels.tensor.Region;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Device memory of one GPU, divided into the named {@link Region}s. A region is one allocation of the planned size, or
 * grows by slabs where nothing was planned; slabs stay until the arena closes, so a steady state allocates nothing.
 * Within a region the smallest free piece that fits is taken. Memory is reused in the order of the calls, which is the
 * order of the stream. Activations and workspace can also lie in memory of another region that is lent until it is written,
 * see {@link CudaLending}; that counts as lent, not as used in their own region. Not thread-safe.
 */
public final class CudaArena implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(CudaArena.class);
    /** Every allocation starts at a multiple of this: enough for the copy engine, vectors and tensor cores. */
    static final long ALIGNMENT = 512;

    private static final long SLAB = 64L << 20;

    private final CudaDevice device;
    private final Map<Region, Space> spaces = new EnumMap<>(Region.class);
    private final List<DeviceSlab> all = new ArrayList<>();
    private @Nullable LentMemory lent;
    private int workspaceUntil;
    private long peakLent;
    private long inUse;

    /** @param planned bytes per region to allocate now; regions that are missing grow as needed */
    public CudaArena(CudaDevice device, Map<Region, Long> planned) {
        this.device = device;
        for (Region region : Region.values()) {
            Space space = new Space(region);
            spaces.put(region, space);
            long bytes = planned.getOrDefault(region, 0L);
            if (bytes > 0) {
                space.grow(roundUp(bytes, ALIGNMENT));
            }
        }
    }

    /**
     * A piece of at least one aligned unit, lent or of the region. Contents are undefined.
     *
     * @param until see {@link LentMemory#take}
     */
    long take(Region region, long bytes, int until) {
        if (lent != null) {
            long address = lent.take(bytes, until, region);
            if (address != LentMemory.NONE) {
                peakLent = Math.max(peakLent, lent.used());
                return address;
            }
        }
        return space(region).take(roundUp(Math.max(bytes, 1), ALIGNMENT));
    }

    /** Gives back a piece that {@link #take} returned for the same number of bytes. */
    void release(Region region, long address, long bytes) {
        if (lent != null && lent.holds(address)) {
            lent.release(address);
        } else {
            space(region).release(address, roundUp(Math.max(bytes, 1), ALIGNMENT));
        }
    }

    /** Begins to lend memory; workspace borrows nothing at first. */
    void lend(LentMemory memory) {
        if (lent != null) {
            throw new IllegalStateException("the arena is lending already");
        }
        lent = memory;
        workspaceUntil = memory.never();
    }

    /** Ends it. */
    void endLending() {
        LentMemory ended = lent;
        if (ended != null) {
            ended.close();
            lent = null;
            workspaceUntil = 0;
        }
    }

    /** What a scope of the region that is opened now borrows, unless it says otherwise: a scope from before the lending nothing. */
    int borrowsUntil(Region region) {
        return lent != null && region == Region.WORKSPACE ? workspaceUntil : Integer.MAX_VALUE;
    }

    void setWorkspaceUntil(int until) {
        workspaceUntil = until;
    }

    /** Largest number of bytes of activations and workspace that lay in another region's memory. */
    public long peakLentBytes() {
        return peakLent;
    }

    /** Bytes held from the GPU. */
    public long reservedBytes(Region region) {
        return space(region).reserved;
    }

    /** Bytes in use now. */
    public long usedBytes(Region region) {
        return space(region).used;
    }

    /** Largest number of bytes in use so far. */
    public long peakBytes(Region region) {
        return space(region).peak;
    }

    /**
     * A fingerprint of what is in use: the same pieces, each in the same place of its scope, give the same. What is handed out
     * next depends on nothing else, but for memory that was reserved since.
     */
    long inUse() {
        return inUse;
    }

    /** Tells that a piece is in use now, or no longer. */
    void toggle(Region region, long address, long bytes, int placeInScope) {
        inUse ^= mixed(address + mixed(bytes + mixed(placeInScope * 8L + region.ordinal())));
    }

    /** The finalizer of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014). */
    private static long mixed(long value) {
        long z = value + 0x9e3779b97f4a7c15L;
        z = (z ^ z >>> 30) * 0xbf58476d1ce4e5b9L;
        z = (z ^ z >>> 27) * 0x94d049bb133111ebL;
        return z ^ z >>> 31;
    }

    /** A pointer to an address. */
    DevicePointer pointer(long address) {
        return slab(address).base().at(address);
    }

    /** The allocation that holds an address. */
    DeviceSlab slab(long address) {
        for (DeviceSlab slab : all) {
            long offset = address - slab.base().address();
            if (offset >= 0 && offset < slab.bytes()) {
                return slab;
            }
        }
        throw new IllegalArgumentException(String.format("address 0x%x is in no region of the arena", address));
    }

    /** One that is there for the arena's whole life. */
    DeviceSlab anySlab() {
        if (all.isEmpty()) {
            space(Region.WORKSPACE).grow(SLAB);
        }
        return all.get(0);
    }

    /** One line per region: used, peak and reserved MiB. */
    public String report() {
        StringBuilder text = new StringBuilder();
        spaces.forEach((region, space) -> text.append(String.format(
                "%-11s used %,10.1f MiB  peak %,10.1f MiB  reserved %,10.1f MiB%n",
                region, mebibytes(space.used), mebibytes(space.peak), mebibytes(space.reserved))));
        if (peakLent > 0) {
            text.append(String.format(
                    "of GRADIENTS at most %,.1f MiB were lent to activations and workspace%n", mebibytes(peakLent)));
        }
        return text.toString();
    }

    @Override
    public void close() {
        all.forEach(DeviceSlab::free);
        for (Space space : spaces.values()) {
            space.slabs.clear();
            space.free.clear();
            space.reserved = 0;
        }
        all.clear();
    }

    private Space space(Region region) {
        Space space = spaces.get(region);
        if (space == null) {
            throw new IllegalStateException("no region " + region);
        }
        return space;
    }

    static long roundUp(long bytes, long unit) {
        return (bytes + unit - 1) / unit * unit;
    }

    private static double mebibytes(long bytes) {
        return bytes / (double) (1 << 20);
    }

    /** One region: its slabs and what is free in them, by address. */
    private final class Space {
        private final Region region;
        private final List<DeviceSlab> slabs = new ArrayList<>();
        private final TreeMap<Long, Long> free = new TreeMap<>();
        private long reserved;
        private long used;
        private long peak;

        Space(Region region) {
            this.region = region;
        }

        long take(long bytes) {
            long address = fit(bytes);
            if (address == 0) {
                grow(Math.max(SLAB, bytes));
                address = fit(bytes);
            }
            used += bytes;
            peak = Math.max(peak, used);
            return address;
        }

        private long fit(long bytes) {
            long best = 0;
            long bestSize = Long.MAX_VALUE;
            for (Map.Entry<Long, Long> piece : free.entrySet()) {
                if (piece.getValue() >= bytes && piece.getValue() < bestSize) {
                    best = piece.getKey();
                    bestSize = piece.getValue();
                }
            }
            if (best != 0) {
                free.remove(best);
                if (bestSize > bytes) {
                    free.put(best + bytes, bestSize - bytes);
                }
            }
            return best;
        }

        void release(long address, long bytes) {
            used -= bytes;
            long start = address;
            long size = bytes;
            Map.Entry<Long, Long> before = free.floorEntry(start);
            if (before != null && before.getKey() + before.getValue() == start && !startsSlab(start)) {
                start = before.getKey();
                size += before.getValue();
                free.remove(start);
            }
            Long after = startsSlab(address + bytes) ? null : free.remove(address + bytes);
            free.put(start, size + (after == null ? 0 : after));
        }

        /** Neighbouring slabs stay apart: each is an allocation of its own. */
        private boolean startsSlab(long address) {
            return slabs.stream().anyMatch(slab -> slab.base().address() == address);
        }

        void grow(long bytes) {
            DeviceSlab slab = DeviceSlab.allocate(bytes, region.toString());
            if (slab == null) {
                throw outOfMemory(bytes);
            }
            slabs.add(slab);
            all.add(slab);
            free.put(slab.base().address(), slab.bytes());
            reserved += slab.bytes();
            LOG.debug("{} grows by {} MiB to {} MiB", region, slab.bytes() >> 20, reserved >> 20);
        }

        private CudaException outOfMemory(long bytes) {
            return new CudaException(String.format(
                    "Out of GPU memory in region %s on %s: asked for %,.1f MiB, %,.1f MiB are free.%n%s%s",
                    region, device.name(), mebibytes(bytes), mebibytes(device.freeBytes()), report(), advice()));
        }

        private String advice() {
            return switch (region) {
                case PARAMETERS -> "Use more expert or tensor parallelism, or a smaller model.";
                case GRADIENTS -> "Use more expert or tensor parallelism, or shard gradients over more data ranks.";
                case OPTIMIZER -> "Shard the optimizer over more data-parallel ranks.";
                case ACTIVATIONS -> "Lower the micro-batch size or sequence length, or recompute more activations.";
                case WORKSPACE -> "Lower the micro-batch size, or the loss chunk.";
            };
        }
    }
}
