package io.fourfold.kernels.cuda;

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

    private final CudaRuntime cuda;
    private final CudaTensorScope scope;
    private final Map<long[], RangePieces> tables = new IdentityHashMap<>();

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
        RangePieces table = tables.computeIfAbsent(bounds, made -> table(made, ranges));
        if (table.count() == 0) {
            return;
        }
        cuda.function(CudaWeightCodes.FILE, "largest_magnitudes")
                .launchLine(table.count(), THREADS, values, table.bounds(), table.places(), largest);
    }

    private RangePieces table(long[] bounds, int[] targets) {
        List<RangePieces.Piece> pieces = new ArrayList<>();
        for (int range = 0; range < bounds.length / 2; range++) {
            long end = bounds[2 * range + 1];
            for (long from = bounds[2 * range]; from < end; from += PIECE) {
                pieces.add(new RangePieces.Piece(from, Math.min(end, from + PIECE), targets[range]));
            }
        }
        return RangePieces.upload(cuda, scope, pieces);
    }

    @Override
    public void close() {
        scope.close();
    }
}
