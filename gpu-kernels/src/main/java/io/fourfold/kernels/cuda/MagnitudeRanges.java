package io.fourfold.kernels.cuda;

import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import java.util.ArrayList;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;

/**
 * Largest magnitudes of ranges of a flat buffer in one launch, however many there are: blocks of 512 threads take pieces of
 * at most 2^18 elements. Where the pieces lie is uploaded once for each list of ranges.
 */
final class MagnitudeRanges implements AutoCloseable {
    private static final long PIECE = 1 << 18;
    private static final int THREADS = 512;

    /**
     * Pieces of ranges.
     *
     * @param bounds INT64 [pieces, 2], first and end element
     * @param ranges INT32 [pieces], place of the result
     */
    private record Table(int pieces, CudaTensor bounds, CudaTensor ranges) {}

    private final CudaRuntime cuda;
    private final CudaTensorScope scope;
    private final Map<long[], Table> tables = new IdentityHashMap<>();

    MagnitudeRanges(CudaRuntime cuda) {
        this.cuda = cuda;
        scope = cuda.memory().scope(Region.WORKSPACE);
    }

    /** See {@link io.fourfold.kernels.op.WeightCodeOps#largest}. */
    void find(CudaTensor values, long[] bounds, int[] ranges, CudaTensor largest) {
        if (largest.elements() == 0) {
            return;
        }
        cuda.memory().zero(largest);
        Table table = tables.computeIfAbsent(bounds, made -> table(made, ranges));
        if (table.pieces == 0) {
            return;
        }
        cuda.function(CudaWeightCodes.FILE, "largest_magnitudes")
                .launchLine(table.pieces, THREADS, values, table.bounds, table.ranges, largest);
    }

    private Table table(long[] bounds, int[] targets) {
        List<long[]> pieces = new ArrayList<>();
        for (int range = 0; range < bounds.length / 2; range++) {
            long end = bounds[2 * range + 1];
            for (long from = bounds[2 * range]; from < end; from += PIECE) {
                pieces.add(new long[] {from, Math.min(end, from + PIECE), targets[range]});
            }
        }
        int[] places = new int[pieces.size() * 4];
        int[] ranges = new int[pieces.size()];
        for (int i = 0; i < ranges.length; i++) {
            for (int side = 0; side < 2; side++) {
                places[4 * i + 2 * side] = (int) pieces.get(i)[side];
                places[4 * i + 2 * side + 1] = (int) (pieces.get(i)[side] >>> 32);
            }
            ranges[i] = (int) pieces.get(i)[2];
        }
        CudaTensor devicePlaces = scope.allocate(DType.INT32, Math.max(1, ranges.length), 4);
        CudaTensor deviceRanges = scope.allocate(DType.INT32, Math.max(1, ranges.length));
        if (ranges.length > 0) {
            cuda.memory().upload(places, devicePlaces);
            cuda.memory().upload(ranges, deviceRanges);
        }
        return new Table(ranges.length, devicePlaces, deviceRanges);
    }

    @Override
    public void close() {
        scope.close();
    }
}
