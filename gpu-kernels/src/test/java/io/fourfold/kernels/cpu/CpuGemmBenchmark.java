package io.fourfold.kernels.cpu;

import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import io.fourfold.kernels.op.OperandSpec.Format;
import io.fourfold.kernels.op.OperandSpec.Rounding;
import io.fourfold.kernels.op.RandomStream;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Shape;
import java.util.Locale;
import java.util.Random;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.openblas.global.openblas_nolapack;

/**
 * Rates of matrix products against bare OpenBLAS, and of quantization. Run with
 * {@code mvn -q -Pquick -pl gpu-kernels test-compile exec:java -Dexec.classpathScope=test
 * -Dexec.mainClass=io.fourfold.kernels.cpu.CpuGemmBenchmark -Dexec.args=1}; the argument is the number of threads.
 */
public final class CpuGemmBenchmark {
    private static final int[][] PRODUCTS = {
        {1024, 256, 128}, {1024, 512, 256}, {512, 512, 512}, {1024, 1024, 1024}, {128, 256, 128}
    };
    private static final OperandSpec ROWS = OperandSpec.of(Format.NVFP4, Blocks.B1X16);

    private final CpuBackend backend = new CpuBackend(1);
    private final CpuQuantizeOps quantize = new CpuQuantizeOps();
    private final Random random = new Random(1);

    private CpuGemmBenchmark() {}

    public static void main(String[] arguments) {
        int threads = arguments.length == 0 ? 1 : Integer.parseInt(arguments[0]);
        CpuGemmBenchmark benchmark = new CpuGemmBenchmark();
        try (CpuGemmOps gemm = new CpuGemmOps(threads)) {
            System.out.println(
                    "GEMM, " + threads + " thread(s), GFLOP/s: bare sgemm, C FP32, C BF16, accumulating FP32");
            for (int[] product : PRODUCTS) {
                benchmark.product(gemm, product[0], product[1], product[2]);
            }
        }
        System.out.println("Quantization of [1024, 256], ns per element: by rows, by columns");
        benchmark.quantization("BF16 from FP32", OperandSpec.BF16, DType.FP32);
        benchmark.quantization("NVFP4 1x16", ROWS, DType.BF16);
        benchmark.quantization("NVFP4 1x16 RHT", ROWS.withHadamard(true), DType.BF16);
        benchmark.quantization("NVFP4 1x16 SR", ROWS.withRounding(Rounding.STOCHASTIC), DType.BF16);
        benchmark.quantization(
                "NVFP4 1x16 RHT SR", ROWS.withHadamard(true).withRounding(Rounding.STOCHASTIC), DType.BF16);
        benchmark.quantization("NVFP4 16x16", OperandSpec.of(Format.NVFP4, Blocks.B16X16), DType.FP32);
        benchmark.quantization("MXFP4 1x32", OperandSpec.of(Format.MXFP4, Blocks.B1X32), DType.BF16);
        benchmark.quantization("FP8 1x128", OperandSpec.of(Format.FP8_E4M3, Blocks.B1X128), DType.BF16);
    }

    private void product(CpuGemmOps gemm, int m, int n, int k) {
        CpuTensorScope scope = (CpuTensorScope) backend.scope(Region.WORKSPACE);
        GemmOperand a = quantize.operand(normal(scope, DType.FP32, m, k), false, OperandSpec.FP32, null, null, scope);
        GemmOperand b = quantize.operand(normal(scope, DType.FP32, n, k), false, OperandSpec.FP32, null, null, scope);
        CpuTensor full = scope.zeros(DType.FP32, Shape.of(m, n));
        CpuTensor half = scope.zeros(DType.BF16, Shape.of(m, n));
        FloatPointer nativeA =
                new FloatPointer((long) m * k).put(CpuOperand.of(a).values().floats(), 0, m * k);
        FloatPointer nativeB =
                new FloatPointer((long) n * k).put(CpuOperand.of(b).values().floats(), 0, n * k);
        FloatPointer nativeC = new FloatPointer((long) m * n);
        double work = 2e-9 * m * n * k;
        double bare = work
                / seconds(() -> openblas_nolapack.cblas_sgemm(
                        101, 111, 112, m, n, k, 1f, nativeA, k, nativeB, k, 0f, nativeC, n));
        double fp32 = work / seconds(() -> gemm.multiply(a, b, full, false));
        double bf16 = work / seconds(() -> gemm.multiply(a, b, half, false));
        double sum = work / seconds(() -> gemm.multiply(a, b, full, true));
        System.out.printf(
                Locale.ROOT,
                "%5dx%4dx%4d  %6.1f  %6.1f (%3.0f%%)  %6.1f (%3.0f%%)  %6.1f (%3.0f%%)%n",
                m,
                n,
                k,
                bare,
                fp32,
                100 * fp32 / bare,
                bf16,
                100 * bf16 / bare,
                sum,
                100 * sum / bare);
        scope.close();
    }

    private void quantization(String name, OperandSpec spec, DType type) {
        CpuTensorScope scope = (CpuTensorScope) backend.scope(Region.WORKSPACE);
        CpuTensor x = normal(scope, type, 1024, 256);
        RandomStream stream = new RandomStream(1, 2, 3, null);
        double[] times = new double[2];
        for (int i = 0; i < 2; i++) {
            boolean byColumns = i == 1;
            times[i] = seconds(() -> {
                CpuTensorScope inner = (CpuTensorScope) backend.scope(Region.WORKSPACE);
                quantize.operand(x, byColumns, spec, stream, null, inner);
                inner.close();
            });
        }
        System.out.printf(
                Locale.ROOT, "%-18s %5.2f %5.2f%n", name, times[0] * 1e9 / x.size(), times[1] * 1e9 / x.size());
        scope.close();
    }

    private CpuTensor normal(CpuTensorScope scope, DType type, int rows, int cols) {
        CpuTensor tensor = scope.zeros(type, Shape.of(rows, cols));
        for (int i = 0; i < tensor.size(); i++) {
            tensor.floats()[i] = (float) random.nextGaussian();
        }
        Bf16Rounding.roundIfNeeded(tensor, 0, tensor.size());
        return tensor;
    }

    /** Best of 60 runs after as many to warm up. */
    private static double seconds(Runnable work) {
        double best = Double.MAX_VALUE;
        for (int i = 0; i < 120; i++) {
            long start = System.nanoTime();
            work.run();
            best = Math.min(best, (System.nanoTime() - start) * 1e-9);
        }
        return best;
    }
}
