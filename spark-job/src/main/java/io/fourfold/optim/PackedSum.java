package io.fourfold.optim;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.op.RowFormat;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.Arrays;

/**
 * A sum over replicas whose addends travel as FP8: every rank packs the part of each owner in rows of 128 values with a
 * scale, the rows are exchanged, and the owner adds what it unpacks in rank order in FP32. An addend x of a row with
 * largest magnitude m arrives with an error of at most 2^-4 |x| + 2^-17 m.
 */
final class PackedSum implements AutoCloseable {
    private static final RowFormat FORMAT = RowFormat.FP8;
    private static final int COLUMNS = 128;

    private final Backend backend;
    private final Communicator replicas;
    private final long[] counts;
    private final TensorScope scope;
    private final Tensor packed;
    private final Tensor received;
    private final long[] sendWords;
    private final long[] receiveWords;

    /**
     * Packs.
     *
     * @param gradients FP32, the parts of all owners after each other
     * @param counts elements of each owner's part
     */
    PackedSum(Backend backend, Communicator replicas, Tensor gradients, long[] counts) {
        this.backend = backend;
        this.replicas = replicas;
        this.counts = counts;
        scope = backend.scope(Region.WORKSPACE);
        int words = FORMAT.words(COLUMNS);
        sendWords = Arrays.stream(counts).map(count -> rows(count) * words).toArray();
        receiveWords = new long[counts.length];
        Arrays.fill(receiveWords, ownRows() * words);
        int rows = Math.toIntExact(Arrays.stream(counts).map(PackedSum::rows).sum());
        packed = scope.allocate(DType.INT32, rows, words);
        received = scope.allocate(DType.INT32, Math.toIntExact(ownRows() * counts.length), words);
        try (TensorScope work = backend.scope(Region.WORKSPACE)) {
            Tensor padded = work.zeros(DType.FP32, rows, COLUMNS);
            long from = 0;
            long row = 0;
            for (long count : counts) {
                if (count > 0) {
                    Shape part = Shape.flat(count);
                    backend.elementwise().copy(gradients.view(from, part), padded.view(row * COLUMNS, part));
                }
                from += count;
                row += rows(count);
            }
            backend.moe().packRows(padded, FORMAT, packed);
        }
    }

    private static long rows(long count) {
        return (count + COLUMNS - 1) / COLUMNS;
    }

    private long ownRows() {
        return rows(counts[replicas.rank()]);
    }

    /** Exchanges the rows; collective. */
    void move() {
        replicas.allToAllV(flat(packed), sendWords, flat(received), receiveWords);
    }

    private static Tensor flat(Tensor tensor) {
        return tensor.view(0, Shape.flat(tensor.elements()));
    }

    /** Writes the sum of this rank's part. */
    void finish(Tensor sums) {
        if (sums.elements() == 0) {
            return;
        }
        try (TensorScope work = backend.scope(Region.WORKSPACE)) {
            Tensor unpacked = work.allocate(DType.FP32, received.dim(0), COLUMNS);
            backend.moe().unpackRows(received, FORMAT, unpacked);
            for (int rank = 0; rank < counts.length; rank++) {
                Tensor addend = unpacked.view(rank * ownRows() * COLUMNS, sums.shape());
                if (rank == 0) {
                    backend.elementwise().copy(addend, sums);
                } else {
                    backend.elementwise().add(sums, addend, sums);
                }
            }
        }
    }

    @Override
    public void close() {
        scope.close();
    }
}
