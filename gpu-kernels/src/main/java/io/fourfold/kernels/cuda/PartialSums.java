package io.fourfold.kernels.cuda;

import io.fourfold.kernels.tensor.DType;

/** Column sums in two steps without atomics: rows of partial sums, then their sum in order. */
final class PartialSums {
    private static final String FILE = "elementwise";
    private static final int ROWS_PER_SLICE = 64;
    private static final int MOST_SLICES = 512;

    private PartialSums() {}

    /** out[c] += sum over p of partial[p, c]. */
    static void add(CudaRuntime cuda, CudaTensor partial, int count, int cols, CudaTensor out) {
        cuda.function(FILE, CudaArguments.kernel("add_partials", out))
                .launchLine(CudaArguments.blocks(cols, 32), 256, partial, count, cols, out);
    }

    /** out[c] += sum over the rows of x[t, c]. */
    static void ofColumns(CudaRuntime cuda, CudaTensor x, CudaTensor out) {
        int rows = x.shape().rows();
        int cols = x.shape().cols();
        int perSlice = Math.max(ROWS_PER_SLICE, CudaArguments.blocks(rows, MOST_SLICES));
        int slices = CudaArguments.blocks(rows, perSlice);
        try (CudaTensorScope work = cuda.workspace()) {
            CudaTensor partial = work.allocate(DType.FP32, Math.max(1, slices), cols);
            cuda.function(FILE, CudaArguments.kernel("column_sums", x))
                    .launch(CudaArguments.blocks(cols, 128 * 8), slices, 1, 128, 0, x, rows, cols, perSlice, partial);
            add(cuda, partial, slices, cols, out);
        }
    }
}
