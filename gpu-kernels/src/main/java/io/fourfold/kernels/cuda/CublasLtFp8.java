package io.fourfold.kernels.cuda;

import io.fourfold.kernels.tensor.DType;
import java.util.HashMap;
import java.util.Map;
import jcuda.driver.CUevent;
import org.bytedeco.cuda.cublas.cublasLtMatmulDescOpaque_t;
import org.bytedeco.cuda.cublas.cublasLtMatmulHeuristicResult_t;
import org.bytedeco.cuda.cublas.cublasLtMatrixLayoutOpaque_t;
import org.bytedeco.cuda.global.cublas;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.javacpp.LongPointer;
import org.bytedeco.javacpp.Pointer;

/**
 * Dense products of E4M3 operands with one factor a matrix, C = scaleA * scaleB * A * B^T (+ C), by cuBLASLt on FP8 tensor
 * cores, whose sums it adds to FP32 accumulators as it goes (no "fast accumulation"). The library reads the factors on the
 * device. The algorithm that its heuristic names first is kept per shape.
 */
final class CublasLtFp8 implements AutoCloseable {
    private static final int WORD = 8;

    private record Key(
            int m, int n, int k, int strideA, int strideB, DType output, long alignment, int multiprocessors) {
        /** For traces: m x n x k, operand and result types. */
        String label() {
            return "gemm " + m + 'x' + n + 'x' + k + " NT FP8->" + output;
        }
    }

    private record Plan(
            cublasLtMatmulDescOpaque_t product,
            cublasLtMatrixLayoutOpaque_t left,
            cublasLtMatrixLayoutOpaque_t right,
            cublasLtMatrixLayoutOpaque_t out,
            cublasLtMatmulHeuristicResult_t algorithm) {}

    private final CudaRuntime cuda;
    private final CublasLt library;
    private final FloatPointer factors = new FloatPointer(0f, 1f);
    private final LongPointer address = new LongPointer(1);
    private final Map<Key, Plan> plans = new HashMap<>();

    CublasLtFp8(CudaRuntime cuda, CublasLt library) {
        this.cuda = cuda;
        this.library = library;
    }

    /**
     * Computes c [a.rows, b.rows] and returns true, or returns false with nothing done where the library cannot.
     *
     * @param c FP32, or BF16 when not accumulating
     */
    boolean multiply(CudaFp8Operand a, CudaFp8Operand b, CudaTensor c, boolean accumulate) {
        int depth = depth(a, b);
        boolean narrow = c.dtype() == DType.BF16;
        if (depth == 0
                || b.rows() % Fp8Source.UNIT != 0
                || c.address() % Fp8Source.UNIT != 0
                || (narrow && accumulate)) {
            return false;
        }
        long alignment = Long.lowestOneBit(a.codes().address() | b.codes().address() | c.address() | 256);
        int multiprocessors = cuda.device().freeMultiprocessors();
        Key key = new Key(a.rows(), b.rows(), depth, a.stride(), b.stride(), c.dtype(), alignment, multiprocessors);
        Plan plan = plans.get(key);
        if (plan == null) {
            plan = plan(key, a, b);
            plans.put(key, plan);
        }
        // Row-major C is column-major C^T = B * A^T, so B is the library's first matrix.
        scale(plan, cublas.CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, b.scale());
        scale(plan, cublas.CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, a.scale());
        Pointer out = Addresses.of(c.address());
        CUevent begun = cuda.device().trace().begin();
        int status = cublas.cublasLtMatmul(
                library.handle(),
                plan.product,
                factors.getPointer(1),
                Addresses.of(b.codes().address()),
                plan.left,
                Addresses.of(a.codes().address()),
                plan.right,
                factors.getPointer(accumulate ? 1 : 0),
                out,
                plan.out,
                out,
                plan.out,
                plan.algorithm.algo(),
                Addresses.of(library.workspace().address()),
                library.workspace().bytes(),
                cuda.device().stream().javacpp());
        if (begun != null) {
            cuda.device().trace().end(begun, key.label());
        }
        if (status != 0) {
            CublasLt.check(status, "cublasLtMatmul " + key);
        }
        return true;
    }

    @Override
    public void close() {
        factors.close();
        address.close();
    }

    /** K in whole units: operands by columns have zeros behind their last element. 0 where one of them has not. */
    private static int depth(CudaFp8Operand a, CudaFp8Operand b) {
        int depth = Fp8Source.roundUp(a.depth(), Fp8Source.UNIT);
        return a.stride() >= depth && b.stride() >= depth ? depth : 0;
    }

    private Plan plan(Key key, CudaFp8Operand a, CudaFp8Operand b) {
        cublasLtMatmulDescOpaque_t product = new cublasLtMatmulDescOpaque_t();
        CublasLt.check(
                cublas.cublasLtMatmulDescInit(product, cublas.CUBLAS_COMPUTE_32F, cudart.CUDA_R_32F),
                "cublasLtMatmulDescInit");
        CublasLt.setInt(product, cublas.CUBLASLT_MATMUL_DESC_TRANSA, cublas.CUBLAS_OP_T);
        CublasLt.setInt(product, cublas.CUBLASLT_MATMUL_DESC_TRANSB, cublas.CUBLAS_OP_N);
        cublasLtMatrixLayoutOpaque_t left = layout(cudart.CUDA_R_8F_E4M3, key.k, key.n, key.strideB);
        cublasLtMatrixLayoutOpaque_t right = layout(cudart.CUDA_R_8F_E4M3, key.k, key.m, key.strideA);
        int type = key.output == DType.FP32 ? cudart.CUDA_R_32F : cudart.CUDA_R_16BF;
        cublasLtMatrixLayoutOpaque_t out = layout(type, key.n, key.m, key.n);
        library.leaveRoom(product, key.multiprocessors);
        Plan draft = new Plan(product, left, right, out, new cublasLtMatmulHeuristicResult_t());
        scale(draft, cublas.CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, b.scale());
        scale(draft, cublas.CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, a.scale());
        return new Plan(
                product, left, right, out, library.algorithm(key.toString(), key.alignment, product, left, right, out));
    }

    private void scale(Plan plan, int attribute, CudaTensor scale) {
        address.put(scale.address());
        CublasLt.check(
                cublas.cublasLtMatmulDescSetAttribute(plan.product, attribute, address, WORD),
                "cublasLtMatmulDescSetAttribute " + attribute);
    }

    private static cublasLtMatrixLayoutOpaque_t layout(int type, int inner, int outer, int stride) {
        cublasLtMatrixLayoutOpaque_t layout = new cublasLtMatrixLayoutOpaque_t();
        CublasLt.check(cublas.cublasLtMatrixLayoutInit(layout, type, inner, outer, stride), "cublasLtMatrixLayoutInit");
        return layout;
    }
}
