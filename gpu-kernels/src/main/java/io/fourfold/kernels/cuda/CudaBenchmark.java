package io.fourfold.kernels.cuda;

import io.fourfold.kernels.op.AttentionShape;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import io.fourfold.kernels.op.OperandSpec.Format;
import io.fourfold.kernels.op.OperandSpec.Rounding;
import io.fourfold.kernels.op.RandomStream;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Random;

/**
 * Measures products and quantizers on one GPU with random data: medians by device events, as a table and as JSON lines.
 * Shapes: S (moe-1b), M (Mixtral 8x7B), Q (Qwen3-30B-A3B); see docs/benchmarks.md.
 */
public final class CudaBenchmark {
    private static final int WARM_UPS = 3;
    private static final int RUNS = 11;

    /** One measured row; either rate may be 0 where it says nothing. */
    record Row(String name, double milliseconds, double teraflops, double gigabytesPerSecond) {
        String json(String device) {
            return String.format(
                    Locale.ROOT,
                    "{\"op\":\"%s\",\"ms\":%.4f,\"tflops\":%.1f,\"gbs\":%.1f,\"device\":\"%s\"}",
                    name,
                    milliseconds,
                    teraflops,
                    gigabytesPerSecond,
                    device);
        }
    }

    private final CudaBackend backend;
    private final CudaTimer timer;
    private final Random random = new Random(1);
    private final List<Row> rows = new ArrayList<>();

    CudaBenchmark(CudaBackend backend) {
        this.backend = backend;
        this.timer = new CudaTimer(backend.runtime().device());
    }

    public static void main(String[] arguments) {
        try (CudaBackend backend = new CudaBackend(0)) {
            CudaBenchmark benchmark = new CudaBenchmark(backend);
            benchmark.dense(8192, 8192, 8192);
            benchmark.dense(16384, 4096, 4096);
            benchmark.dense(32768, 1024, 3072);
            benchmark.quantize(16384, 8192);
            benchmark.raggedQuantize(131072, 1024, 32);
            for (boolean even : new boolean[] {true, false}) {
                benchmark.grouped("S-w13", 131072, 32, 1024, 1024, even);
                benchmark.grouped("S-w2", 131072, 32, 1024, 512, even);
                benchmark.grouped("M-w2", 32768, 8, 4096, 14336, even);
                benchmark.grouped("Q-w13", 131072, 128, 1536, 2048, even);
            }
            benchmark.attention(4, 4096, 32, 8, 128);
            benchmark.attention(1, 32768, 32, 8, 128);
            benchmark.attention(8, 4096, 16, 4, 64);
            benchmark.print();
        }
    }

    private void dense(int m, int n, int k) {
        try (TensorScope scope = backend.scope(Region.ACTIVATIONS)) {
            CudaTensor x = normal(scope, m, k);
            CudaTensor w = normal(scope, n, k);
            CudaTensor dy = normal(scope, m, n);
            CudaTensor y = CudaTensor.of(scope.allocate(DType.BF16, m, n));
            CudaTensor dx = CudaTensor.of(scope.allocate(DType.BF16, m, k));
            CudaTensor dw = CudaTensor.of(scope.zeros(DType.FP32, n, k));
            double flops = 2.0 * m * n * k;
            String shape = m + "x" + n + "x" + k;
            compute(
                    "gemm fprop bf16 " + shape,
                    flops,
                    () -> backend.gemm().multiply(plain(x, false, scope), plain(w, false, scope), y, false));
            compute(
                    "gemm dgrad bf16 " + shape,
                    flops,
                    () -> backend.gemm().multiply(plain(dy, false, scope), plain(w, true, scope), dx, false));
            compute(
                    "gemm wgrad fp32 += " + shape,
                    flops,
                    () -> backend.gemm().multiply(plain(dy, true, scope), plain(x, true, scope), dw, true));
        }
    }

    private void grouped(String name, int tokens, int groups, int n, int k, boolean even) {
        try (TensorScope scope = backend.scope(Region.ACTIVATIONS)) {
            CudaTensor offsets = offsets(scope, tokens, groups, even);
            CudaTensor x = normal(scope, tokens, k);
            CudaTensor dy = normal(scope, tokens, n);
            CudaTensor w = normal(scope, groups, n, k);
            CudaTensor y = CudaTensor.of(scope.allocate(DType.BF16, tokens, n));
            CudaTensor dx = CudaTensor.of(scope.allocate(DType.BF16, tokens, k));
            CudaTensor dw = CudaTensor.of(scope.zeros(DType.FP32, groups, n, k));
            double flops = 2.0 * tokens * n * k;
            String label = name + (even ? " even" : " skewed");
            GroupedOperand xRows = ragged(x, offsets, false, scope);
            GroupedOperand dyRows = ragged(dy, offsets, false, scope);
            GroupedOperand xColumns = ragged(x, offsets, true, scope);
            GroupedOperand dyColumns = ragged(dy, offsets, true, scope);
            GroupedOperand wRows = backend.quantize().stacked(w, false, OperandSpec.BF16, null, scope);
            GroupedOperand wColumns = backend.quantize().stacked(w, true, OperandSpec.BF16, null, scope);
            compute("grouped fprop " + label, flops, () -> backend.gemm().multiplyGrouped(xRows, wRows, y));
            compute("grouped dgrad " + label, flops, () -> backend.gemm().multiplyGrouped(dyRows, wColumns, dx));
            compute(
                    "grouped wgrad " + label,
                    flops,
                    () -> backend.gemm().multiplyGroupedDepth(dyColumns, xColumns, dw, false));
            compute(
                    "grouped wgrad += " + label,
                    flops,
                    () -> backend.gemm().multiplyGroupedDepth(dyColumns, xColumns, dw, true));
        }
    }

    /** Causal attention without documents: half of the products count, backward as two and a half forwards. */
    private void attention(int batch, int sequence, int heads, int kvHeads, int dim) {
        AttentionShape shape = new AttentionShape(batch, sequence, heads, kvHeads, dim, (float) (1 / Math.sqrt(dim)));
        try (TensorScope scope = backend.scope(Region.ACTIVATIONS)) {
            CudaTensor qkv = normal(scope, shape.tokens(), shape.qkvWidth());
            CudaTensor dqkv = CudaTensor.of(scope.allocate(DType.BF16, shape.tokens(), shape.qkvWidth()));
            CudaTensor dout = normal(scope, shape.tokens(), shape.outputWidth());
            CudaTensor out = CudaTensor.of(scope.allocate(DType.BF16, shape.tokens(), shape.outputWidth()));
            CudaTensor logSumExp = CudaTensor.of(scope.allocate(DType.FP32, batch, heads, sequence));
            CudaTensor starts = CudaTensor.of(scope.zeros(DType.INT32, shape.tokens()));
            double flops = 2.0 * batch * heads * sequence * sequence * dim;
            String label = String.format("b%d s%d h%d kv%d d%d", batch, sequence, heads, kvHeads, dim);
            compute(
                    "attention forward " + label,
                    flops,
                    () -> backend.attention().forward(shape, qkv, starts, out, logSumExp));
            compute(
                    "attention backward " + label,
                    2.5 * flops,
                    () -> backend.attention().backward(shape, dout, qkv, starts, out, logSumExp, dqkv));
        }
    }

    private void quantize(int tokens, int cols) {
        try (TensorScope scope = backend.scope(Region.ACTIVATIONS)) {
            CudaTensor x = normal(scope, tokens, cols);
            CudaTensor copy = CudaTensor.of(scope.allocate(DType.BF16, tokens, cols));
            CudaTensor weights = CudaTensor.of(scope.allocate(DType.FP32, tokens / 4, cols));
            backend.upload(normalValues(tokens / 4 * cols), weights);
            double bytes = 2.0 * x.bytes();
            String shape = tokens + "x" + cols;
            memory("copy " + shape, bytes, () -> backend.runtime().memory().copy(x, copy));
            OperandSpec nvfp4 = OperandSpec.of(Format.NVFP4, Blocks.B1X16);
            OperandSpec stochastic = nvfp4.withRounding(Rounding.STOCHASTIC);
            // Two reads and one write.
            emulate("nvfp4 rows", x, false, nvfp4, 1.5 * bytes);
            emulate("nvfp4 rows sr", x, false, stochastic, 1.5 * bytes);
            emulate("nvfp4 columns rht", x, true, nvfp4.withHadamard(true), 1.5 * bytes);
            emulate("nvfp4 columns rht sr", x, true, stochastic.withHadamard(true), 1.5 * bytes);
            emulate(
                    "nvfp4 16x16 fp32",
                    weights,
                    false,
                    OperandSpec.of(Format.NVFP4, Blocks.B16X16),
                    weights.elements() * 10.0);
        }
    }

    private void raggedQuantize(int tokens, int cols, int groups) {
        try (TensorScope scope = backend.scope(Region.ACTIVATIONS)) {
            CudaTensor offsets = offsets(scope, tokens, groups, false);
            CudaTensor x = normal(scope, tokens, cols);
            for (boolean byColumns : new boolean[] {false, true}) {
                OperandSpec spec = OperandSpec.of(Format.NVFP4, Blocks.B1X16)
                        .withRounding(Rounding.STOCHASTIC)
                        .withHadamard(byColumns);
                memory(
                        "nvfp4 ragged " + (byColumns ? "columns rht sr" : "rows sr") + " " + tokens + "x" + cols
                                + " groups " + groups,
                        3.0 * x.bytes(),
                        () -> {
                            try (TensorScope work = backend.scope(Region.WORKSPACE)) {
                                backend.quantize().ragged(x, offsets, byColumns, spec, 0, stream(), null, work);
                            }
                        });
            }
        }
    }

    private void emulate(String name, CudaTensor x, boolean byColumns, OperandSpec spec, double bytes) {
        memory(name + " " + x.shape(), bytes, () -> {
            try (TensorScope work = backend.scope(Region.WORKSPACE)) {
                backend.quantize().operand(x, byColumns, spec, stream(), null, work);
            }
        });
    }

    private static RandomStream stream() {
        return new RandomStream(7, 1, 5, null);
    }

    private GemmOperand plain(CudaTensor x, boolean byColumns, TensorScope scope) {
        return backend.quantize().operand(x, byColumns, OperandSpec.BF16, null, null, scope);
    }

    private GroupedOperand ragged(CudaTensor x, CudaTensor offsets, boolean byColumns, TensorScope scope) {
        return backend.quantize().ragged(x, offsets, byColumns, OperandSpec.BF16, 0, null, null, scope);
    }

    private CudaTensor offsets(TensorScope scope, int tokens, int groups, boolean even) {
        int[] bounds = new int[groups + 1];
        double[] shares = new double[groups];
        double sum = 0;
        for (int g = 0; g < groups; g++) {
            shares[g] = even ? 1 : Math.pow(random.nextDouble(), 3);
            sum += shares[g];
        }
        double total = 0;
        for (int g = 0; g < groups; g++) {
            total += shares[g];
            bounds[g + 1] = g == groups - 1 ? tokens : (int) Math.min(tokens, Math.round(total / sum * tokens));
        }
        CudaTensor offsets = CudaTensor.of(scope.allocate(DType.INT32, groups + 1));
        backend.upload(bounds, offsets);
        return offsets;
    }

    /** Random numbers repeat every 2^20 elements: drawing all of them would take longer than the measurement. */
    private CudaTensor normal(TensorScope scope, int... dims) {
        CudaTensor tensor = CudaTensor.of(scope.allocate(DType.BF16, dims));
        backend.upload(normalValues(Math.toIntExact(tensor.elements())), tensor);
        return tensor;
    }

    private float[] normalValues(int count) {
        float[] values = new float[count];
        int period = Math.min(count, (1 << 20) - 3);
        for (int i = 0; i < period; i++) {
            values[i] = (float) random.nextGaussian();
        }
        for (int i = period; i < count; i++) {
            values[i] = values[i - period];
        }
        return values;
    }

    private void compute(String name, double flops, Runnable work) {
        double time = timer.medianMilliseconds(WARM_UPS, RUNS, work);
        rows.add(new Row(name, time, flops / time / 1e9, 0));
    }

    private void memory(String name, double bytes, Runnable work) {
        double time = timer.medianMilliseconds(WARM_UPS, RUNS, work);
        rows.add(new Row(name, time, 0, bytes / time / 1e6));
    }

    private void print() {
        String device = backend.description();
        System.out.println(device);
        for (Row row : rows) {
            System.out.printf(
                    Locale.ROOT,
                    "%-58s %9.4f ms %9.1f TFLOP/s %9.1f GB/s%n",
                    row.name,
                    row.milliseconds,
                    row.teraflops,
                    row.gigabytesPerSecond);
        }
        rows.forEach(row -> System.out.println(row.json(device)));
    }
}
