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
    private final long count;
    private final TensorScope scope;
    private final Tensor packed;
    private final Tensor received;
    private final long[] partWords;

    /**
     * Packs.
     *
     * @param gradients FP32, the equal parts of all owners after each other
     */
    PackedSum(Backend backend, Communicator replicas, Tensor gradients) {
        this.backend = backend;
        this.replicas = replicas;
        int ranks = replicas.size();
        count = gradients.elements() / ranks;
        scope = backend.scope(Region.WORKSPACE);
        int words = FORMAT.words(COLUMNS);
        partWords = new long[ranks];
        Arrays.fill(partWords, rows() * words);
        int rows = Math.toIntExact(rows() * ranks);
        packed = scope.allocate(DType.INT32, rows, words);
        received = scope.allocate(DType.INT32, rows, words);
        if (count % COLUMNS == 0) {
            backend.moe().packRows(gradients.view(0, Shape.of(rows, COLUMNS)), FORMAT, packed);
            return;
        }
        try (TensorScope work = backend.scope(Region.WORKSPACE)) {
            Tensor padded = work.zeros(DType.FP32, rows, COLUMNS);
            Shape part = Shape.flat(count);
            for (int owner = 0; owner < ranks; owner++) {
                backend.elementwise()
                        .copy(gradients.view(owner * count, part), padded.view(owner * rows() * COLUMNS, part));
            }
            backend.moe().packRows(padded, FORMAT, packed);
        }
    }

    /** Of one owner's part. */
    private long rows() {
        return (count + COLUMNS - 1) / COLUMNS;
    }

    /** Exchanges the rows; collective. */
    void move() {
        replicas.allToAllV(flat(packed), partWords, flat(received), partWords);
    }

    private static Tensor flat(Tensor tensor) {
        return tensor.view(0, Shape.flat(tensor.elements()));
    }

    /** Writes the sum of this rank's part. */
    void finish(Tensor sums) {
        try (TensorScope work = backend.scope(Region.WORKSPACE)) {
            Tensor unpacked = work.allocate(DType.FP32, received.dim(0), COLUMNS);
            backend.moe().unpackRows(received, FORMAT, unpacked);
            for (int rank = 0; rank < replicas.size(); rank++) {
                Tensor addend = unpacked.view(rank * rows() * COLUMNS, sums.shape());
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
