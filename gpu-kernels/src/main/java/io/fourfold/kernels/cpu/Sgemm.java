package io.fourfold.kernels.cpu;

import org.bytedeco.openblas.global.openblas_nolapack;

/**
 * Row-major FP32 matrix products by OpenBLAS, with native scratch for operands that live in Java arrays. The number of
 * OpenBLAS threads is global to the process: the last constructed instance decides. Results are the same from run to run
 * for the same shapes and thread count. One instance serves one thread.
 */
final class Sgemm implements AutoCloseable {
    private final NativeFloats a = new NativeFloats();
    private final NativeFloats b = new NativeFloats();
    private final NativeFloats c = new NativeFloats();

    Sgemm(int threads) {
        useThreads(threads);
    }

    /** Sets the threads of every OpenBLAS call in this process. */
    static void useThreads(int threads) {
        if (threads < 1) {
            throw new IllegalArgumentException("OpenBLAS needs at least 1 thread, got " + threads);
        }
        openblas_nolapack.blas_set_num_threads(threads);
    }

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

    /**
     * The same on dense Java arrays; each matrix starts at its offset. When beta is 0, the old contents of c are not read.
     */
    void multiply(
            Order orderA,
            Order orderB,
            int m,
            int n,
            int k,
            float[] a,
            int offsetA,
            float[] b,
            int offsetB,
            float beta,
            float[] c,
            int offsetC) {
        if (m == 0 || n == 0) {
            return;
        }
        this.a.reserve(Math.max(1, Math.multiplyExact(m, k)));
        this.b.reserve(Math.max(1, Math.multiplyExact(n, k)));
        this.c.reserve(Math.multiplyExact(m, n));
        this.a.put(0, a, offsetA, m * k);
        this.b.put(0, b, offsetB, n * k);
        if (beta != 0f) {
            this.c.put(0, c, offsetC, m * n);
        }
        multiply(
                orderA,
                orderB,
                m,
                n,
                k,
                1f,
                new Matrix(this.a, 0, orderA == Order.PLAIN ? k : m),
                new Matrix(this.b, 0, orderB == Order.PLAIN ? n : k),
                beta,
                new Matrix(this.c, 0, n));
        this.c.get(0, c, offsetC, m * n);
    }

    @Override
    public void close() {
        a.close();
        b.close();
        c.close();
    }
}
