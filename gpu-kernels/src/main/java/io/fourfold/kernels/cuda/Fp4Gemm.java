package io.fourfold.kernels.cuda;

import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.GroupedOperand.Layout;
import io.fourfold.kernels.quant.Nvfp4Layout;
import io.fourfold.kernels.quant.Nvfp4Product;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Shape;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.cuda.cublas.cublasLtContext;
import org.bytedeco.cuda.cublas.cublasLtMatmulDescOpaque_t;
import org.bytedeco.cuda.cublas.cublasLtMatmulHeuristicResult_t;
import org.bytedeco.cuda.cublas.cublasLtMatmulPreferenceOpaque_t;
import org.bytedeco.cuda.cublas.cublasLtMatrixLayoutOpaque_t;
import org.bytedeco.cuda.global.cublas;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.javacpp.IntPointer;
import org.bytedeco.javacpp.LongPointer;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.SizeTPointer;

/**
 * Products on FP4 tensor cores by cuBLASLt's block-scaled matrix product: E2M1 codes, one E4M3 scale for 16, FP32
 * accumulation, the tensor scales amaxA * amaxB / (36 * 448^2) in alpha. Experts are multiplied one after the other, with
 * sizes that the host reads from the device; a grouped kernel would avoid both.
 *
 * <p><b>Not run on hardware</b>: it needs compute capability 10.0. Positions and sizes ({@link Nvfp4Product}) are tested on
 * the CPU, the operands' bytes on Hopper.
 */
final class Fp4Gemm implements AutoCloseable {
    private static final long WORKSPACE_BYTES = 32L << 20;
    private static final int FACTORS = 3;
    private static final int ALPHA = 2;

    private record Key(int m, int n, int k, DType output) {}

    private record Plan(
            cublasLtMatmulDescOpaque_t product,
            cublasLtMatrixLayoutOpaque_t left,
            cublasLtMatrixLayoutOpaque_t right,
            cublasLtMatrixLayoutOpaque_t out,
            cublasLtMatmulHeuristicResult_t algorithm) {}

    private final CudaRuntime cuda;
    private final cublasLtContext handle = new cublasLtContext();
    private final CudaTensorScope scope;
    private final CudaTensor workspace;
    /** 0, 1, and alpha of the product at hand. */
    private final CudaTensor factors;

    private final Map<Key, Plan> plans = new HashMap<>();

    Fp4Gemm(CudaRuntime cuda) {
        this.cuda = cuda;
        check(cublas.cublasLtCreate(handle), "cublasLtCreate");
        scope = cuda.memory().scope(Region.WORKSPACE);
        workspace = scope.allocate(DType.INT32, (int) (WORKSPACE_BYTES / 4));
        factors = scope.allocate(DType.FP32, FACTORS);
        cuda.memory().upload(new float[] {0f, 1f, 1f}, factors);
    }

    /** Computes C (+)= A * B^T of two FP4 operands and returns true, or returns false when they are none. */
    boolean multiply(GemmOperand a, GemmOperand b, CudaTensor c, boolean accumulate) {
        if (!(a instanceof CudaFp4Operand left) || !(b instanceof CudaFp4Operand right)) {
            return false;
        }
        List<Nvfp4Product> products = Nvfp4Product.of(left.places(), right.places(), 0);
        for (Nvfp4Product product : products) {
            run(
                    product,
                    left.codes(),
                    left.scales(),
                    left.scale(),
                    right.codes(),
                    right.scales(),
                    right.scale(),
                    c,
                    accumulate);
        }
        return true;
    }

    /** The same for experts; waits for the GPU to learn how many rows each has. */
    boolean multiplyGrouped(GroupedOperand a, GroupedOperand b, CudaTensor c, boolean accumulate) {
        if (!(a instanceof CudaFp4GroupedOperand left) || !(b instanceof CudaFp4GroupedOperand right)) {
            return false;
        }
        Nvfp4Layout places = left.places(cuda.memory());
        boolean rows = left.layout() == Layout.RAGGED_ROWS;
        int firstRow = rows ? Math.toIntExact(places.codesAt(0) / Nvfp4Layout.codeBytes(1, left.depth())) : 0;
        for (Nvfp4Product product : Nvfp4Product.of(places, right.places(cuda.memory()), firstRow)) {
            run(
                    product,
                    left.codes(),
                    left.scales(),
                    left.scale(),
                    right.codes(),
                    right.scales(),
                    right.scale(),
                    c,
                    accumulate);
        }
        return true;
    }

    private void run(
            Nvfp4Product product,
            CudaTensor codesA,
            CudaTensor scalesA,
            CudaTensor scaleA,
            CudaTensor codesB,
            CudaTensor scalesB,
            CudaTensor scaleB,
            CudaTensor c,
            boolean accumulate) {
        CudaTensor target = c.view(product.c(), Shape.of(product.m(), product.n()));
        if (product.k() == 0) {
            if (!accumulate) {
                cuda.memory().zero(target);
            }
            return;
        }
        Plan plan = plans.computeIfAbsent(new Key(product.m(), product.n(), product.k(), c.dtype()), this::plan);
        // Row-major C is column-major C^T = B * A^T, so B is the library's first matrix.
        setPointer(plan.product, cublas.CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, scalesB.address() + product.scalesB());
        setPointer(plan.product, cublas.CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, scalesA.address() + product.scalesA());
        cuda.function("operand_plain", "gemm_alpha")
                .launchLine(
                        1,
                        1,
                        scaleA.address() + 4L * product.group(),
                        scaleB.address() + 4L * product.group(),
                        factors.address() + 4L * ALPHA);
        Pointer out = Addresses.of(target.address());
        check(
                cublas.cublasLtMatmul(
                        handle,
                        plan.product,
                        Addresses.of(factors.address() + 4L * ALPHA),
                        Addresses.of(codesB.address() + product.codesB()),
                        plan.left,
                        Addresses.of(codesA.address() + product.codesA()),
                        plan.right,
                        Addresses.of(factors.address() + (accumulate ? 4L : 0L)),
                        out,
                        plan.out,
                        out,
                        plan.out,
                        plan.algorithm.algo(),
                        Addresses.of(workspace.address()),
                        WORKSPACE_BYTES,
                        cuda.device().stream().javacpp()),
                "cublasLtMatmul " + product);
    }

    @Override
    public void close() {
        check(cublas.cublasLtDestroy(handle), "cublasLtDestroy");
        scope.close();
    }

    private Plan plan(Key key) {
        cublasLtMatmulDescOpaque_t product = new cublasLtMatmulDescOpaque_t();
        check(
                cublas.cublasLtMatmulDescInit(product, cublas.CUBLAS_COMPUTE_32F, cudart.CUDA_R_32F),
                "cublasLtMatmulDescInit");
        // FP4 products know one form only: both matrices with K contiguous.
        setInt(product, cublas.CUBLASLT_MATMUL_DESC_TRANSA, cublas.CUBLAS_OP_T);
        setInt(product, cublas.CUBLASLT_MATMUL_DESC_TRANSB, cublas.CUBLAS_OP_N);
        setInt(product, cublas.CUBLASLT_MATMUL_DESC_POINTER_MODE, cublas.CUBLASLT_POINTER_MODE_DEVICE);
        setInt(product, cublas.CUBLASLT_MATMUL_DESC_A_SCALE_MODE, cublas.CUBLASLT_MATMUL_MATRIX_SCALE_VEC16_UE4M3);
        setInt(product, cublas.CUBLASLT_MATMUL_DESC_B_SCALE_MODE, cublas.CUBLASLT_MATMUL_MATRIX_SCALE_VEC16_UE4M3);
        cublasLtMatrixLayoutOpaque_t left = matrix(cudart.CUDA_R_4F_E2M1, key.k, key.n);
        cublasLtMatrixLayoutOpaque_t right = matrix(cudart.CUDA_R_4F_E2M1, key.k, key.m);
        cublasLtMatrixLayoutOpaque_t out =
                matrix(key.output == DType.FP32 ? cudart.CUDA_R_32F : cudart.CUDA_R_16BF, key.n, key.m);
        cublasLtMatmulHeuristicResult_t result = new cublasLtMatmulHeuristicResult_t();
        try (cublasLtMatmulPreferenceOpaque_t preference = new cublasLtMatmulPreferenceOpaque_t();
                SizeTPointer bytes = new SizeTPointer(1).put(WORKSPACE_BYTES);
                IntPointer found = new IntPointer(1)) {
            check(cublas.cublasLtMatmulPreferenceInit(preference), "cublasLtMatmulPreferenceInit");
            check(
                    cublas.cublasLtMatmulPreferenceSetAttribute(
                            preference, cublas.CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, bytes, 8),
                    "cublasLtMatmulPreferenceSetAttribute");
            check(
                    cublas.cublasLtMatmulAlgoGetHeuristic(
                            handle, product, left, right, out, out, preference, 1, result, found),
                    "asking cuBLASLt for an FP4 algorithm for " + key);
            if (found.get() == 0) {
                throw new CudaException("cuBLASLt knows no FP4 algorithm for " + key + "; use recipe bf16");
            }
        }
        return new Plan(product, left, right, out, result);
    }

    /** Column-major [rows, cols] without gaps. */
    private static cublasLtMatrixLayoutOpaque_t matrix(int type, int rows, int cols) {
        cublasLtMatrixLayoutOpaque_t layout = new cublasLtMatrixLayoutOpaque_t();
        check(cublas.cublasLtMatrixLayoutInit(layout, type, rows, cols, rows), "cublasLtMatrixLayoutInit");
        return layout;
    }

    private static void setInt(cublasLtMatmulDescOpaque_t product, int attribute, int value) {
        try (IntPointer pointer = new IntPointer(1).put(value)) {
            set(product, attribute, pointer, 4);
        }
    }

    private static void setPointer(cublasLtMatmulDescOpaque_t product, int attribute, long address) {
        try (LongPointer pointer = new LongPointer(1).put(address)) {
            set(product, attribute, pointer, 8);
        }
    }

    private static void set(cublasLtMatmulDescOpaque_t product, int attribute, Pointer value, long bytes) {
        check(
                cublas.cublasLtMatmulDescSetAttribute(product, attribute, value, bytes),
                "cublasLtMatmulDescSetAttribute " + attribute);
    }

    private static void check(int status, String what) {
        if (status != cublas.CUBLAS_STATUS_SUCCESS) {
            throw new CudaException(what + " failed: "
                    + cublas.cublasLtGetStatusString(status).getString() + " (cuBLASLt status " + status + ")");
        }
    }
}
