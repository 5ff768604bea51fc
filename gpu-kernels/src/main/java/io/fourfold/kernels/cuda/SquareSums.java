package io.fourfold.kernels.cuda;

import io.fourfold.kernels.op.OptimizerOps;
import io.fourfold.kernels.tensor.Region;
import java.util.ArrayList;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;

/**
 * Exact sums of squares of the segments of one flat buffer in one launch of {@code sum_squares.cu}, however many there are:
 * blocks of 512 threads take pieces of at most 2^18 elements. Where they lie is uploaded once for each list of segments.
 */
final class SquareSums implements AutoCloseable {
    private static final long PIECE = 1 << 18;
    private static final int THREADS = 512;

    private final CudaRuntime cuda;
    private final CudaTensorScope scope;
    private final Map<long[], RangePieces> tables = new IdentityHashMap<>();

    SquareSums(CudaRuntime cuda) {
        this.cuda = cuda;
        scope = cuda.memory().scope(Region.WORKSPACE);
    }

    /** See {@link OptimizerOps#sumSquares}. */
    void find(CudaTensor values, long[] starts, CudaTensor out) {
        if (starts.length < 2) {
            return;
        }
        cuda.memory().zero(out);
        RangePieces table = tables.computeIfAbsent(starts, this::table);
        if (table.count() > 0) {
            cuda.function("sum_squares", "sum_squares")
                    .launchLine(table.count(), THREADS, values, table.bounds(), table.places(), out);
        }
    }

    /** Pieces end at ends of groups, but for those of segments. */
    private RangePieces table(long[] starts) {
        List<RangePieces.Piece> pieces = new ArrayList<>();
        for (int segment = 0; segment + 1 < starts.length; segment++) {
            long end = starts[segment + 1];
            for (long from = starts[segment]; from < end; ) {
                long to = Math.min(end, from / OptimizerOps.SQUARES_GROUP * OptimizerOps.SQUARES_GROUP + PIECE);
                pieces.add(new RangePieces.Piece(from, to, segment));
                from = to;
            }
        }
        return RangePieces.upload(cuda, scope, pieces);
    }

    @Override
    public void close() {
        scope.close();
    }
}
