package io.fourfold.bench.operations;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.tensor.Tensor;
import java.util.Random;

/** Compares sampled elements of a product with FP64 sums. */
final class ProductCheck {
    private static final int SAMPLES = 64;

    /** FP64 value of one element. */
    interface Element {
        double at(int row, int col);
    }

    private final Backend backend;
    private final Random random;
    private final ErrorCheck check = new ErrorCheck();

    ProductCheck(Backend backend, Random random) {
        this.backend = backend;
        this.random = random;
    }

    /**
     * Adds samples of rows [from, to), first and last row and column among them.
     *
     * @param out read as a matrix
     */
    ProductCheck samples(Tensor out, int from, int to, Element want) {
        int cols = out.shape().cols();
        for (int i = 0; i < SAMPLES && from < to; i++) {
            int row = i == 0 ? from : i == 1 ? to - 1 : from + random.nextInt(to - from);
            int col = i == 0 ? 0 : i == 1 ? cols - 1 : random.nextInt(cols);
            check.add(ErrorCheck.element(backend, out, (long) row * cols + col), want.at(row, col));
        }
        check.endSet();
        return this;
    }

    double error() {
        return check.error();
    }

    /** Sum over {@code count} steps of a[firstA + i * stepA] * b[firstB + i * stepB]. */
    static double sum(RandomData a, long firstA, long stepA, RandomData b, long firstB, long stepB, int count) {
        double sum = 0;
        for (long i = 0; i < count; i++) {
            sum += a.at(firstA + i * stepA) * b.at(firstB + i * stepB);
        }
        return sum;
    }
}
