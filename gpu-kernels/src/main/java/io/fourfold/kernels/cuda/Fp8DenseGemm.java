package io.fourfold.kernels.cuda;

import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.GroupedOperand.Layout;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import java.util.HashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Dense FP8 products: with one factor a matrix by cuBLASLt, with factors of blocks by the grouped kernels, as one group.
 */
final class Fp8DenseGemm implements AutoCloseable {
    private final CudaRuntime cuda;
    private final CublasLtFp8 library;
    private final Fp8GroupedGemm grouped;
    private final CudaTensorScope scope;
    /** 0 and the end of the one group, by the end: a model has few extents. */
    private final Map<Integer, CudaTensor> bounds = new HashMap<>();

    Fp8DenseGemm(CudaRuntime cuda, CublasLt library, Fp8GroupedGemm grouped) {
        this.cuda = cuda;
        this.library = new CublasLtFp8(cuda, library);
        this.grouped = grouped;
        this.scope = cuda.memory().ownScope(Region.WORKSPACE);
    }

    /** C (+)= A * B^T. False, with nothing done, where these operands need another way. */
    boolean multiply(GemmOperand left, GemmOperand right, CudaTensor c, boolean accumulate) {
        if (!(left instanceof CudaFp8Operand a)
                || !(right instanceof CudaFp8Operand b)
                || a.depth() != b.depth()
                || c.elements() != (long) a.rows() * b.rows()) {
            return false;
        }
        Blocks blocksA = a.spec().blocks();
        Blocks blocksB = b.spec().blocks();
        if (blocksA == Blocks.TENSOR && blocksB == Blocks.TENSOR) {
            return library.multiply(a, b, c, accumulate);
        }
        if (blocksB == Blocks.B128X128 && !accumulate && c.shape().rank() == 2) {
            CudaTensor rows = bounds.computeIfAbsent(a.rows(), this::upload);
            return grouped.rows(
                    one(Layout.RAGGED_ROWS, a, a.rows(), 0, a.depth(), rows),
                    one(Layout.STACKED, b, 0, b.rows(), b.depth(), null),
                    c);
        }
        if (blocksB == Blocks.B1X128 && c.dtype() == DType.FP32) {
            CudaTensor depth = bounds.computeIfAbsent(a.depth(), this::upload);
            return grouped.depth(
                    one(Layout.RAGGED_DEPTH, a, a.depth(), a.rows(), 0, depth),
                    one(Layout.RAGGED_DEPTH, b, b.depth(), b.rows(), 0, depth),
                    c,
                    accumulate,
                    null);
        }
        return false;
    }

    private CudaTensor upload(int end) {
        CudaTensor group = scope.allocate(DType.INT32, 2);
        cuda.memory().upload(new int[] {0, end}, group);
        return group;
    }

    private static CudaFp8GroupedOperand one(
            Layout layout, CudaFp8Operand of, int rows, int width, int depth, @Nullable CudaTensor offsets) {
        return new CudaFp8GroupedOperand(
                layout,
                of.spec(),
                1,
                of.codes(),
                rows,
                width,
                depth,
                of.stride(),
                of.byColumns(),
                offsets,
                null,
                of.scale());
    }

    @Override
    public void close() {
        library.close();
        scope.close();
    }
}
