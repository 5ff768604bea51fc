package io.fourfold.kernels.cpu;

import org.bytedeco.openblas.global.openblas_nolapack;

/**
 * Row-major FP32 matrix products by OpenBLAS on native memory. Results are the same from run to run for the same shapes,
 * processor type and thread count; calls from several threads at once do not disturb each other.
 */
final class Sgemm {
    private Sgemm() {}

    /** Whether an operand is used as it is stored or transposed. */
    enum Order {
        PLAIN(openblas_nolapack.CblasNoTrans),
        TRANSPOSED(openblas_nolapack.CblasTrans);

        private final int blas;

        Order(int blas) {
            this.blas = blas;
        }
    }

    /** A row-major matrix inside native memory: {@code stride} floats from one row to the next. */
    record Matrix(NativeFloats memory, int at, int stride) {}

    /**
     * c = alpha * op(a) * op(b) + beta * c, with op(a) [m, k], op(b) [k, n], c [m, n], all in native memory. Nothing
     * happens when m or n is 0; k = 0 scales c by beta.
     */
    static void multiply(
            Order orderA, Order orderB, int m, int n, int k, float alpha, Matrix a, Matrix b, float beta, Matrix c) {
        if (m == 0 || n == 0) {
            return;
        }
        openblas_nolapack.cblas_sgemm(
                openblas_nolapack.CblasRowMajor,
                orderA.blas,
                orderB.blas,
                m,
                n,
                k,
                alpha,
                a.memory().pointer(a.at()),
                Math.max(1, a.stride()),
                b.memory().pointer(b.at()),
                Math.max(1, b.stride()),
                beta,
                c.memory().pointer(c.at()),
                Math.max(1, c.stride()));
    }
}
