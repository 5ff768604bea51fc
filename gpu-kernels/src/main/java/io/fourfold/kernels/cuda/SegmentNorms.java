package io.fourfold.kernels.cuda;

import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import java.util.HashMap;
import java.util.IdentityHashMap;
import java.util.Map;
import java.util.stream.LongStream;

/**
 * Squared norms of the segments of one flat buffer in two launches, however many there are: blocks of 512 threads take
 * pieces of at most 2^18 elements, then one block a segment adds its pieces in order. The pieces depend on the segments
 * alone, so the result is the same in every run.
 */
final class SegmentNorms implements AutoCloseable {
    private static final int PIECE = 1 << 18;
    private static final int THREADS = 512;

    /**
     * Where the pieces lie.
     *
     * @param bounds INT64 [pieces, 2] first and end element
     * @param firstPieces INT32 [segments + 1]
     */
    private record Table(int pieces, CudaTensor bounds, CudaTensor firstPieces) {}

    private record EqualParts(int count, long elements) {
        long[] starts() {
            return LongStream.rangeClosed(0, count).map(i -> i * elements).toArray();
        }
    }

    private final CudaRuntime cuda;
    private final CudaTensorScope scope;
    private final Map<long[], Table> tables = new IdentityHashMap<>();
    private final Map<EqualParts, long[]> equalParts = new HashMap<>();

    SegmentNorms(CudaRuntime cuda) {
        this.cuda = cuda;
        scope = cuda.memory().scope(Region.WORKSPACE);
    }

    void add(CudaTensor values, long[] starts, CudaTensor out) {
        int segments = starts.length - 1;
        if (segments <= 0) {
            return;
        }
        Table table = tables.computeIfAbsent(starts, this::table);
        try (CudaTensorScope work = cuda.workspace()) {
            CudaTensor partial = work.allocate(DType.INT32, Math.max(1, table.pieces), 2); // FP64 [pieces]
            cuda.function("optimizer", CudaArguments.kernel("squared_norm_pieces", values))
                    .launchLine(table.pieces, THREADS, values, table.bounds, partial);
            cuda.function("optimizer", "add_piece_sums").launchLine(segments, THREADS, partial, table.firstPieces, out);
        }
    }

    /** Writes the squared norm of each of {@code out}'s elements' equal parts of the values. */
    void ofGroups(CudaTensor values, CudaTensor out) {
        int groups = Math.toIntExact(out.elements());
        cuda.memory().zero(out);
        if (groups > 0) {
            add(
                    values,
                    equalParts.computeIfAbsent(new EqualParts(groups, values.elements() / groups), EqualParts::starts),
                    out);
        }
    }

    private Table table(long[] starts) {
        int segments = starts.length - 1;
        int[] first = new int[segments + 1];
        for (int i = 0; i < segments; i++) {
            first[i + 1] = first[i] + CudaArguments.blocks(starts[i + 1] - starts[i], PIECE);
        }
        int pieces = first[segments];
        int[] bounds = new int[pieces * 4];
        int at = 0;
        for (int i = 0; i < segments; i++) {
            for (long from = starts[i]; from < starts[i + 1]; from += PIECE) {
                long to = Math.min(starts[i + 1], from + PIECE);
                bounds[at++] = (int) from;
                bounds[at++] = (int) (from >>> 32);
                bounds[at++] = (int) to;
                bounds[at++] = (int) (to >>> 32);
            }
        }
        CudaTensor deviceBounds = scope.allocate(DType.INT32, Math.max(1, pieces), 4);
        CudaTensor deviceFirst = scope.allocate(DType.INT32, segments + 1);
        if (pieces > 0) {
            cuda.memory().upload(bounds, deviceBounds);
        }
        cuda.memory().upload(first, deviceFirst);
        return new Table(pieces, deviceBounds, deviceFirst);
    }

    @Override
    public void close() {
        scope.close();
    }
}
