package io.fourfold.kernels.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.cuda.CudaPair.Twin;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import io.fourfold.kernels.op.OperandSpec.Format;
import io.fourfold.kernels.op.RowPart;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.TestFactory;

/**
 * Products on the GPU against OpenBLAS: the inputs are equal to the bit, so only the order of the FP32 sums differs (at
 * most 2e-6 relative, by norm), and the final rounding where C is BF16 (a value on the border goes the other way: 1e-3). FP8
 * tensor cores sum with fewer bits (docs/numerics.md): 5e-4 and 2e-3, as in CudaFp8ParityTest.
 */
@Tag("gpu")
class CudaGemmParityTest {
    private static final OperandSpec NVFP4 = OperandSpec.of(Format.NVFP4, Blocks.B1X16);
    private static final OperandSpec WEIGHTS = OperandSpec.of(Format.NVFP4, Blocks.B16X16);
    private static final OperandSpec FP8 = OperandSpec.of(Format.FP8_E4M3, Blocks.TENSOR);
    private static final double FP32_TOLERANCE = 2e-6;
    private static final double BF16_TOLERANCE = 1e-3;
    private static final double FP8_FP32_TOLERANCE = 5e-4;
    private static final double FP8_BF16_TOLERANCE = 2e-3;

    @SuppressWarnings("NullAway.Init")
    private static CudaPair pair;

    @BeforeAll
    static void open() {
        pair = CudaPair.open(72);
    }

    @AfterAll
    @SuppressWarnings("ConstantConditions")
    static void close() {
        if (pair != null) {
            pair.close();
        }
    }

    private static double tolerance(DType out) {
        return out == DType.FP32 ? FP32_TOLERANCE : BF16_TOLERANCE;
    }

    @TestFactory
    List<DynamicTest> dense() {
        List<DynamicTest> tests = new ArrayList<>();
        OperandSpec[][] specs = {
            {OperandSpec.FP32, OperandSpec.FP32},
            {OperandSpec.BF16, OperandSpec.BF16},
            {OperandSpec.FP32, OperandSpec.BF16},
            {NVFP4, WEIGHTS},
            {NVFP4, OperandSpec.BF16},
            {FP8, FP8},
            {FP8, OperandSpec.BF16}
        };
        for (OperandSpec[] spec : specs) {
            for (int forms = 0; forms < 4; forms++) {
                boolean columnsA = (forms & 1) != 0;
                boolean columnsB = (forms & 2) != 0;
                for (DType out : new DType[] {DType.FP32, DType.BF16}) {
                    for (boolean accumulate : new boolean[] {false, true}) {
                        String name = spec[0].format()
                                + (columnsA ? "^T " : " ")
                                + spec[1].format()
                                + (columnsB ? "^T " : " ")
                                + out
                                + (accumulate ? " accumulate" : "");
                        tests.add(DynamicTest.dynamicTest(name, () -> {
                            dense(name, spec, columnsA, columnsB, out, accumulate, 64, 96, 128);
                            dense(name, spec, columnsA, columnsB, out, accumulate, 33, 7, 21);
                        }));
                    }
                }
            }
        }
        return tests;
    }

    private static void dense(
            String name,
            OperandSpec[] spec,
            boolean columnsA,
            boolean columnsB,
            DType out,
            boolean accumulate,
            int m,
            int n,
            int k) {
        DType source = spec[0].format() == Format.FP32 ? DType.FP32 : DType.BF16;
        Twin a = pair.gaussian(source, 1, columnsA ? k : m, columnsA ? m : k);
        Twin b = pair.gaussian(source, 1, columnsB ? k : n, columnsB ? n : k);
        Twin c = accumulate ? pair.gaussian(out, 1, m, n) : pair.poison(out, m, n);
        multiply(pair.cpu, pair.cpuScope, spec, columnsA, columnsB, a.cpu(), b.cpu(), c.cpu(), accumulate);
        multiply(pair.cuda, pair.cudaScope, spec, columnsA, columnsB, a.cuda(), b.cuda(), c.cuda(), accumulate);
        boolean fp8Cores = spec[0].equals(FP8) && spec[1].equals(FP8) && (m | n | k) % 16 == 0;
        double tolerance = !fp8Cores ? tolerance(out) : out == DType.FP32 ? FP8_FP32_TOLERANCE : FP8_BF16_TOLERANCE;
        pair.assertClose("dense " + name + " " + m + "x" + n + "x" + k, c.cpu(), c.cuda(), tolerance);
    }

    private static void multiply(
            Backend backend,
            TensorScope scope,
            OperandSpec[] spec,
            boolean columnsA,
            boolean columnsB,
            Tensor a,
            Tensor b,
            Tensor c,
            boolean accumulate) {
        GemmOperand left = backend.quantize().operand(a, columnsA, spec[0], null, null, scope);
        GemmOperand right = backend.quantize().operand(b, columnsB, spec[1], null, null, scope);
        backend.gemm().multiply(left, right, c, accumulate);
    }

    /** Also while a collective has some of the multiprocessors. */
    @TestFactory
    List<DynamicTest> someRows() {
        List<DynamicTest> tests = new ArrayList<>();
        for (DType type : new DType[] {DType.FP32, DType.BF16}) {
            for (boolean columns : new boolean[] {false, true}) {
                for (int lent : new int[] {0, 16}) {
                    String name = "rows of " + type + (columns ? " dgrad" : " fprop") + ", lent " + lent;
                    tests.add(DynamicTest.dynamicTest(name, () -> {
                        CudaDevice device = pair.cuda.runtime().device();
                        device.lendMultiprocessors(lent);
                        someRows(name, type, columns, 300, 96, 128);
                        someRows(name, type, columns, 2000, 520, 264);
                        device.takeMultiprocessorsBack();
                    }));
                }
            }
        }
        return tests;
    }

    private static void someRows(String name, DType type, boolean columns, int m, int n, int k) {
        OperandSpec spec = type == DType.BF16 ? OperandSpec.BF16 : OperandSpec.FP32;
        Twin a = pair.gaussian(type, 1, m, k);
        Twin b = pair.gaussian(type, 1, columns ? k : n, columns ? n : k);
        Twin c = pair.poison(type, m, n);
        int middle = m / 3;
        for (boolean gpu : new boolean[] {false, true}) {
            Backend backend = gpu ? pair.cuda : pair.cpu;
            GemmOperand right = backend.quantize()
                    .operand(side(b, gpu), columns, spec, null, null, gpu ? pair.cudaScope : pair.cpuScope);
            Tensor rows = side(a, gpu);
            Tensor out = side(c, gpu);
            backend.gemm().multiplyRows(rows.rows(middle, m), right, out.rows(middle, m));
            backend.gemm().multiplyRows(rows.rows(0, middle), right, out.rows(0, middle));
        }
        pair.assertClose(name + " " + m + "x" + n + "x" + k, c.cpu(), c.cuda(), tolerance(type));
    }

    @TestFactory
    List<DynamicTest> grouped() {
        List<DynamicTest> tests = new ArrayList<>();
        OperandSpec[][] specs = {
            {OperandSpec.FP32, OperandSpec.FP32}, {OperandSpec.BF16, OperandSpec.BF16}, {NVFP4, WEIGHTS}
        };
        int[][] bounds = {{0, 300, 300, 301, 700}, {0, 1, 1, 3}, {2, 130, 258}};
        for (OperandSpec[] spec : specs) {
            for (int[] bound : bounds) {
                for (boolean transposed : new boolean[] {false, true}) {
                    String name = spec[0].format() + (transposed ? " dgrad " : " fprop ") + bound[bound.length - 1];
                    tests.add(DynamicTest.dynamicTest(name, () -> {
                        groupedRows(name, spec, bound, transposed, 136, 72);
                        groupedRows(name, spec, bound, transposed, 256, 520);
                        groupedRows(name, spec, bound, transposed, 20, 13);
                    }));
                }
                for (boolean accumulate : new boolean[] {false, true}) {
                    String name = spec[0].format() + " wgrad " + bound[bound.length - 1] + (accumulate ? " +=" : "");
                    tests.add(DynamicTest.dynamicTest(name, () -> {
                        groupedDepth(name, spec[0], bound, accumulate, 136, 72);
                        groupedDepth(name, spec[0], bound, accumulate, 256, 264);
                        groupedDepth(name, spec[0], bound, accumulate, 20, 13);
                    }));
                }
            }
        }
        return tests;
    }

    private static void groupedRows(String name, OperandSpec[] spec, int[] bound, boolean transposed, int k, int n) {
        int groups = bound.length - 1;
        int rows = bound[groups] + 11;
        DType type = spec[0].format() == Format.FP32 ? DType.FP32 : DType.BF16;
        Twin x = pair.gaussian(type, 1, rows, k);
        Twin w = transposed
                ? pair.gaussian(DType.FP32, 0.1, groups, k, n)
                : pair.gaussian(DType.FP32, 0.1, groups, n, k);
        Twin offsets = pair.ints(bound);
        Twin c = pair.poison(type, rows, n);
        for (boolean gpu : new boolean[] {false, true}) {
            Backend backend = gpu ? pair.cuda : pair.cpu;
            TensorScope scope = gpu ? pair.cudaScope : pair.cpuScope;
            GroupedOperand left =
                    backend.quantize().ragged(side(x, gpu), side(offsets, gpu), false, spec[0], 0, null, null, scope);
            GroupedOperand right = backend.quantize().stacked(side(w, gpu), transposed, spec[1], null, scope);
            backend.gemm().multiplyGrouped(left, right, side(c, gpu));
            if (gpu && !spec[0].quantized()) {
                sameInParts(name, left, right, bound, c);
            }
        }
        // Rows of no group are still NaN on both sides.
        pair.assertClose("grouped " + name + " k " + k + " n " + n, c.cpu(), c.cuda(), tolerance(type));
    }

    /** Two parts of each group's rows, the first or second sometimes empty, are the whole bit for bit. */
    private static void sameInParts(String name, GroupedOperand left, GroupedOperand right, int[] bound, Twin whole) {
        int groups = bound.length - 1;
        int[] middle = new int[groups];
        for (int g = 0; g < groups; g++) {
            middle[g] = bound[g] + (bound[g + 1] - bound[g]) * g / Math.max(1, groups - 1);
        }
        Twin parted =
                pair.poison(whole.cpu().dtype(), whole.cpu().dim(0), whole.cpu().dim(1));
        Tensor begins = pair.ints(Arrays.copyOf(bound, groups)).cuda();
        Tensor middles = pair.ints(middle).cuda();
        Tensor ends = pair.ints(Arrays.copyOfRange(bound, 1, groups + 1)).cuda();
        pair.cuda.gemm().multiplyGroupedPart(left, new RowPart(middles, ends), right, parted.cuda());
        pair.cuda.gemm().multiplyGroupedPart(left, new RowPart(begins, middles), right, parted.cuda());
        assertThat(pair.cuda.download(parted.cuda()))
                .as(name + " in parts")
                .isEqualTo(pair.cuda.download(whole.cuda()));
    }

    private static void groupedDepth(String name, OperandSpec spec, int[] bound, boolean accumulate, int m, int n) {
        int groups = bound.length - 1;
        int rows = bound[groups] + 11;
        DType type = spec.format() == Format.FP32 ? DType.FP32 : DType.BF16;
        OperandSpec wgrad = spec.quantized() ? spec.withHadamard(true) : spec;
        Twin dy = pair.gaussian(type, 1, rows, m);
        Twin x = pair.gaussian(type, 1, rows, n);
        Twin offsets = pair.ints(bound);
        Twin c = accumulate ? pair.gaussian(DType.FP32, 1, groups, m, n) : pair.poison(DType.FP32, groups, m, n);
        Twin squares = pair.poison(DType.FP32, groups);
        for (boolean gpu : new boolean[] {false, true}) {
            Backend backend = gpu ? pair.cuda : pair.cpu;
            TensorScope scope = gpu ? pair.cudaScope : pair.cpuScope;
            GroupedOperand left =
                    backend.quantize().ragged(side(dy, gpu), side(offsets, gpu), true, wgrad, 0, null, null, scope);
            GroupedOperand right =
                    backend.quantize().ragged(side(x, gpu), side(offsets, gpu), true, wgrad, 0, null, null, scope);
            backend.gemm()
                    .multiplyGroupedDepth(
                            left, right, side(c, gpu), accumulate, accumulate ? null : side(squares, gpu));
        }
        if (!accumulate) {
            pair.assertClose("squared norms of " + name, squares.cpu(), squares.cuda(), FP32_TOLERANCE);
        }
        pair.assertClose("grouped " + name + " m " + m + " n " + n, c.cpu(), c.cuda(), FP32_TOLERANCE);
    }

    private static Tensor side(Twin twin, boolean gpu) {
        return gpu ? twin.cuda() : twin.cpu();
    }
}
