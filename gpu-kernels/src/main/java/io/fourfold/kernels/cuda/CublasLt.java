package io.fourfold.kernels.cuda;

import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import java.util.HashMap;
import java.util.Map;
import jcuda.driver.CUevent;
import org.bytedeco.cuda.cublas.cublasLtContext;
import org.bytedeco.cuda.cublas.cublasLtMatmulDescOpaque_t;
import org.bytedeco.cuda.cublas.cublasLtMatmulHeuristicResult_t;
import org.bytedeco.cuda.cublas.cublasLtMatmulPreferenceOpaque_t;
import org.bytedeco.cuda.cublas.cublasLtMatrixLayoutOpaque_t;
import org.bytedeco.cuda.global.cublas;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.javacpp.IntPointer;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.SizeTPointer;
import org.jspecify.annotations.Nullable;

/**
 * Dense row-major products C = alpha * A * B^T (+ C) by cuBLASLt with FP32 accumulation and FP32 factors; FP32 operands
 * are multiplied as FP32, never as TF32. The algorithm that the library's heuristic names first is kept per shape.
 */
final class CublasLt implements AutoCloseable {
    private static final long WORKSPACE_BYTES = 32L << 20;

    /** A stored operand: [extent, depth], or [depth, extent] when depthMajor. */
    record Matrix(CudaTensor values, boolean depthMajor) {}

    private record Key(
            int m,
            int n,
            int k,
            boolean depthMajorA,
            boolean depthMajorB,
            DType input,
            DType output,
            long alignment,
            boolean deviceFactors,
            int multiprocessors) {
        /** For traces: m x n x k, operand and result types. */
        String label() {
            return "gemm " + m + 'x' + n + 'x' + k + ' ' + (depthMajorA ? 'T' : 'N') + (depthMajorB ? 'N' : 'T') + ' '
                    + input + "->" + output;
        }
    }

    private record Plan(
            cublasLtMatmulDescOpaque_t product,
            cublasLtMatrixLayoutOpaque_t left,
            cublasLtMatrixLayoutOpaque_t right,
            cublasLtMatrixLayoutOpaque_t out,
            cublasLtMatmulHeuristicResult_t algorithm,
            String label) {}

    private final CudaRuntime cuda;
    private final cublasLtContext handle = new cublasLtContext();
    private final CudaTensorScope scope;
    private final CudaTensor workspace;
    /** 0, 1, and the factor of the product at hand. */
    private final CudaTensor deviceFactors;

    private final FloatPointer hostFactors = new FloatPointer(0f, 1f);
    private final Map<Key, Plan> plans = new HashMap<>();

    CublasLt(CudaRuntime cuda) {
        this.cuda = cuda;
        try {
            check(cublas.cublasLtCreate(handle), "cublasLtCreate");
        } catch (LinkageError e) {
            throw new CudaException(
                    "cuBLASLt cannot be loaded (libcublasLt.so.13). Install the CUDA 13 toolkit or its cuBLAS package on"
                            + " this node and put its folder on LD_LIBRARY_PATH, or run with run.backend=cpu.",
                    e);
        }
        scope = cuda.memory().scope(Region.WORKSPACE);
        workspace = scope.allocate(DType.INT32, (int) (WORKSPACE_BYTES / 4));
        deviceFactors = scope.allocate(DType.FP32, 3);
        cuda.memory().upload(new float[] {0f, 1f, 1f}, deviceFactors);
    }

    /**
     * @param c [m, n], FP32 or BF16
     * @param scaleA FP32 [1] on the device, null = 1; scaleB alike
     */
    void multiply(
            Matrix a,
            Matrix b,
            CudaTensor c,
            int m,
            int n,
            int k,
            @Nullable CudaTensor scaleA,
            @Nullable CudaTensor scaleB,
            boolean accumulate) {
        boolean scaled = scaleA != null || scaleB != null;
        // With factors from the host the library has kernels that round A * B^T to BF16 before they add C.
        boolean onDevice = scaled || (accumulate && c.dtype() == DType.BF16);
        long alignment = Long.lowestOneBit(a.values.address() | b.values.address() | c.address() | 256);
        Key key = new Key(
                m,
                n,
                k,
                a.depthMajor,
                b.depthMajor,
                a.values.dtype(),
                c.dtype(),
                alignment,
                onDevice,
                cuda.device().freeMultiprocessors());
        Plan plan = plans.get(key);
        if (plan == null) {
            plan = plan(key);
            plans.put(key, plan);
        }
        if (scaled) {
            cuda.function("operand_plain", "gemm_alpha")
                    .launchLine(
                            1,
                            1,
                            CudaFunction.orNull(scaleA),
                            CudaFunction.orNull(scaleB),
                            deviceFactors.address() + 8);
        }
        int beta = accumulate ? 1 : 0;
        Pointer alpha = onDevice ? factorOnDevice(scaled ? 2 : 1) : hostFactors.getPointer(1);
        Pointer betaPointer = onDevice ? factorOnDevice(beta) : hostFactors.getPointer(beta);
        Pointer out = Addresses.of(c.address());
        // Row-major C is column-major C^T = B * A^T, so B is the library's first matrix.
        CUevent begun = cuda.device().trace().begin();
        int status = cublas.cublasLtMatmul(
                handle,
                plan.product,
                alpha,
                Addresses.of(b.values.address()),
                plan.left,
                Addresses.of(a.values.address()),
                plan.right,
                betaPointer,
                out,
                plan.out,
                out,
                plan.out,
                plan.algorithm.algo(),
                Addresses.of(workspace.address()),
                WORKSPACE_BYTES,
                cuda.device().stream().javacpp());
        if (begun != null) {
            cuda.device().trace().end(begun, plan.label);
        }
        if (status != 0) {
            check(status, "cublasLtMatmul " + key);
        }
    }

    cublasLtContext handle() {
        return handle;
    }

    CudaTensor workspace() {
        return workspace;
    }

    private Pointer factorOnDevice(int index) {
        return Addresses.of(deviceFactors.address() + index * 4L);
    }

    @Override
    public void close() {
        check(cublas.cublasLtDestroy(handle), "cublasLtDestroy");
        hostFactors.close();
        scope.close();
    }

    private Plan plan(Key key) {
        cublasLtMatmulDescOpaque_t product = new cublasLtMatmulDescOpaque_t();
        check(
                cublas.cublasLtMatmulDescInit(product, cublas.CUBLAS_COMPUTE_32F, cudart.CUDA_R_32F),
                "cublasLtMatmulDescInit");
        setInt(product, cublas.CUBLASLT_MATMUL_DESC_TRANSA, key.depthMajorB ? cublas.CUBLAS_OP_N : cublas.CUBLAS_OP_T);
        setInt(product, cublas.CUBLASLT_MATMUL_DESC_TRANSB, key.depthMajorA ? cublas.CUBLAS_OP_T : cublas.CUBLAS_OP_N);
        if (key.deviceFactors) {
            setInt(product, cublas.CUBLASLT_MATMUL_DESC_POINTER_MODE, cublas.CUBLASLT_POINTER_MODE_DEVICE);
        }
        leaveRoom(product, key.multiprocessors);
        cublasLtMatrixLayoutOpaque_t left = stored(key.input, key.n, key.k, key.depthMajorB);
        cublasLtMatrixLayoutOpaque_t right = stored(key.input, key.m, key.k, key.depthMajorA);
        cublasLtMatrixLayoutOpaque_t out = stored(key.output, key.m, key.n, false);
        return new Plan(
                product,
                left,
                right,
                out,
                algorithm(key.toString(), key.alignment, product, left, right, out),
                key.label());
    }

    /**
     * Its blocks may stay until the product ends, and a collective under way has to find room.
     *
     * @param multiprocessors that the product may take
     */
    void leaveRoom(cublasLtMatmulDescOpaque_t product, int multiprocessors) {
        if (multiprocessors < cuda.device().multiprocessors()) {
            setInt(product, cublas.CUBLASLT_MATMUL_DESC_SM_COUNT_TARGET, multiprocessors);
        }
    }

    /** What the library's heuristic names first. */
    cublasLtMatmulHeuristicResult_t algorithm(
            String what,
            long bytesAligned,
            cublasLtMatmulDescOpaque_t product,
            cublasLtMatrixLayoutOpaque_t left,
            cublasLtMatrixLayoutOpaque_t right,
            cublasLtMatrixLayoutOpaque_t out) {
        cublasLtMatmulHeuristicResult_t result = new cublasLtMatmulHeuristicResult_t();
        try (cublasLtMatmulPreferenceOpaque_t preference = new cublasLtMatmulPreferenceOpaque_t();
                SizeTPointer workspaceBytes = new SizeTPointer(1).put(WORKSPACE_BYTES);
                IntPointer alignment = new IntPointer(1).put((int) bytesAligned);
                IntPointer reduction = new IntPointer(1).put(cublas.CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
                IntPointer found = new IntPointer(1)) {
            check(cublas.cublasLtMatmulPreferenceInit(preference), "cublasLtMatmulPreferenceInit");
            prefer(preference, cublas.CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspaceBytes, 8);
            // Partial sums of a split K stay FP32; rounding them to BF16 cost a factor of 2 in accuracy.
            prefer(preference, cublas.CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, reduction, 4);
            prefer(preference, cublas.CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment, 4);
            prefer(preference, cublas.CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment, 4);
            prefer(preference, cublas.CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment, 4);
            prefer(preference, cublas.CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment, 4);
            int status = cublas.cublasLtMatmulAlgoGetHeuristic(
                    handle, product, left, right, out, out, preference, 1, result, found);
            check(status, "asking cuBLASLt for an algorithm for " + what);
            if (found.get() == 0) {
                throw new CudaException("cuBLASLt knows no algorithm for " + what);
            }
        }
        return result;
    }

    /** A row-major matrix [rows, cols] (or stored transposed) in the library's column-major terms. */
    private static cublasLtMatrixLayoutOpaque_t stored(DType dtype, int rows, int cols, boolean transposed) {
        cublasLtMatrixLayoutOpaque_t layout = new cublasLtMatrixLayoutOpaque_t();
        int outer = transposed ? cols : rows;
        int inner = transposed ? rows : cols;
        check(
                cublas.cublasLtMatrixLayoutInit(
                        layout, dtype == DType.FP32 ? cudart.CUDA_R_32F : cudart.CUDA_R_16BF, inner, outer, inner),
                "cublasLtMatrixLayoutInit");
        return layout;
    }

    static void setInt(cublasLtMatmulDescOpaque_t product, int attribute, int value) {
        try (IntPointer pointer = new IntPointer(1).put(value)) {
            check(
                    cublas.cublasLtMatmulDescSetAttribute(product, attribute, pointer, 4),
                    "cublasLtMatmulDescSetAttribute " + attribute);
        }
    }

    private static void prefer(cublasLtMatmulPreferenceOpaque_t preference, int attribute, Pointer value, long bytes) {
        check(
                cublas.cublasLtMatmulPreferenceSetAttribute(preference, attribute, value, bytes),
                "cublasLtMatmulPreferenceSetAttribute " + attribute);
    }

    static void check(int status, String what) {
        if (status != cublas.CUBLAS_STATUS_SUCCESS) {
            throw new CudaException(what + " failed: "
                    + cublas.cublasLtGetStatusString(status).getString() + " (cuBLASLt status " + status + ")");
        }
    }
}
