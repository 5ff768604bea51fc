package io.fourfold.kernels.quant;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.fourfold.kernels.cpu.CpuGemmOps;
import io.fourfold.kernels.cpu.CpuQuantizeOps;
import io.fourfold.kernels.cpu.CpuTensor;
import io.fourfold.kernels.cpu.HeapScope;
import io.fourfold.kernels.numeric.BFloat16;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import io.fourfold.kernels.op.OperandSpec.Format;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

/** Codes, scale bytes, amax and values of an independent NVFP4 reference, bit for bit (zeros of either sign are equal). */
class GoldenVectorsTest {
    private static final OperandSpec BLOCKS_1D = OperandSpec.of(Format.NVFP4, Blocks.B1X16);
    private static final OperandSpec BLOCKS_2D = OperandSpec.of(Format.NVFP4, Blocks.B16X16);

    /** A few cases of the file, without its redundant fields, that come with the sources. */
    @TestFactory
    List<DynamicTest> extract() throws IOException {
        try (InputStream file = GoldenVectorsTest.class.getResourceAsStream("/golden/nvfp4-extract.json")) {
            return cases(new ObjectMapper().readTree(file));
        }
    }

    @TestFactory
    List<DynamicTest> everyCase() throws IOException {
        return cases(golden());
    }

    private static List<DynamicTest> cases(JsonNode golden) {
        List<DynamicTest> tests = new ArrayList<>();
        golden.properties().forEach(entry -> {
            if (entry.getKey().contains("/")) {
                tests.add(DynamicTest.dynamicTest(entry.getKey(), () -> check(entry.getKey(), entry.getValue())));
            }
        });
        return tests;
    }

    @Test
    void threeGemms() throws IOException {
        JsonNode golden = golden().get("gemm_64x96x64");
        int m = golden.get("M").asInt();
        int k = golden.get("K").asInt();
        int n = golden.get("N").asInt();
        float[] x = bf16(golden.get("x"));
        float[] w = bf16(golden.get("w"));
        float[] dy = bf16(golden.get("dy"));
        OperandSpec wgrad = BLOCKS_1D.withHadamard(true);
        checkOperand(golden, "x", PackingQuantizer.quantize(x, m, k, false, BLOCKS_1D, null), false);
        checkOperand(golden, "w", PackingQuantizer.quantize(w, n, k, false, BLOCKS_2D, null), false);
        checkOperand(golden, "w", PackingQuantizer.quantize(w, n, k, true, BLOCKS_2D, null), true);
        checkOperand(golden, "dy", PackingQuantizer.quantize(dy, m, n, false, BLOCKS_1D, null), false);
        checkOperand(golden, "x", PackingQuantizer.quantize(x, m, k, true, wgrad, null), true);
        checkOperand(golden, "dy", PackingQuantizer.quantize(dy, m, n, true, wgrad, null), true);

        assertProduct(golden.get("y"), x, m, k, false, BLOCKS_1D, w, n, k, false, BLOCKS_2D);
        assertProduct(golden.get("dx"), dy, m, n, false, BLOCKS_1D, w, n, k, true, BLOCKS_2D);
        assertProduct(golden.get("dw"), dy, m, n, true, wgrad, x, m, k, true, wgrad);
    }

    private static void check(String name, JsonNode golden) {
        int rows = golden.get("shape").get(0).asInt();
        int cols = golden.get("shape").get(1).asInt();
        boolean bf16 = golden.get("dtype").asText().equals("bfloat16");
        float[] x = bf16 ? bf16(golden.get("x")) : fp32(golden.get("x"));
        OperandSpec spec = name.endsWith("/2d") ? BLOCKS_2D : BLOCKS_1D;
        PackedMatrix byRows = PackingQuantizer.quantize(x, rows, cols, false, spec, null);
        checkPacked(byRows, golden, "qx", "sx", "amax_row", "dq");
        OperandSpec columnSpec = name.endsWith("_rht") ? spec.withHadamard(true) : spec;
        PackedMatrix byColumns = PackingQuantizer.quantize(x, rows, cols, true, columnSpec, null);
        checkPacked(byColumns, golden, "qx_t", "sx_t", "amax_col", "dq_t");
    }

    private static void checkPacked(
            PackedMatrix packed, JsonNode golden, String codes, String scales, String amax, String values) {
        assertThat(Float.floatToRawIntBits(packed.amax())).as(amax).isEqualTo((int)
                golden.get(amax).get(0).asLong());
        assertThat(packed.scales()).as(scales).isEqualTo(bytes(golden.get(scales)));
        assertThat(positiveZeros(packed.codes())).as(codes).isEqualTo(positiveZeros(bytes(golden.get(codes))));
        if (!golden.has(values)) {
            return;
        }
        float[] expected = fp32(golden.get(values));
        float[] actual = packed.values();
        for (int i = 0; i < actual.length; i++) {
            assertThat(actual[i] * packed.tensorScale() + 0f)
                    .as("%s[%d]", values, i)
                    .isEqualTo(expected[i] + 0f);
        }
    }

    private static void checkOperand(JsonNode golden, String name, PackedMatrix packed, boolean byColumns) {
        String suffix = byColumns ? "t" : "";
        String amax = name + (byColumns ? "_amax_col" : "_amax_row");
        assertThat(Float.floatToRawIntBits(packed.amax()))
                .as(amax)
                .isEqualTo(golden.get(amax).get(0).asInt());
        assertThat(packed.scales()).as(name + " scales").isEqualTo(bytes(golden.get(name + "_s" + suffix)));
        assertThat(positiveZeros(packed.codes()))
                .as(name + " codes")
                .isEqualTo(positiveZeros(bytes(golden.get(name + "_q" + suffix))));
    }

    private static void assertProduct(
            JsonNode golden,
            float[] a,
            int aRows,
            int aCols,
            boolean aByColumns,
            OperandSpec aSpec,
            float[] b,
            int bRows,
            int bCols,
            boolean bByColumns,
            OperandSpec bSpec) {
        HeapScope scope = new HeapScope();
        CpuQuantizeOps quantize = new CpuQuantizeOps();
        GemmOperand left = quantize.operand(
                CpuTensor.ofFloats(DType.BF16, a, Shape.of(aRows, aCols)), aByColumns, aSpec, null, null, scope);
        GemmOperand right = quantize.operand(
                CpuTensor.ofFloats(DType.BF16, b, Shape.of(bRows, bCols)), bByColumns, bSpec, null, null, scope);
        CpuTensor c = CpuTensor.of(scope.allocate(DType.FP32, left.rows(), right.rows()));
        try (CpuGemmOps gemm = new CpuGemmOps(1)) {
            gemm.multiply(left, right, c, false);
        }
        float[] expected = fp32(golden);
        double difference = 0;
        double size = 0;
        for (int i = 0; i < expected.length; i++) {
            difference += Math.pow(c.floats()[i] - expected[i], 2);
            size += Math.pow(expected[i], 2);
        }
        assertThat(Math.sqrt(difference / size)).isCloseTo(0, within(1e-6)); // only the order of summation differs
    }

    private static JsonNode golden() throws IOException {
        Path file = Path.of(System.getProperty("fourfold.shared", "../shared"), "golden", "nvfp4.json");
        if (!Files.exists(file)) {
            System.out.println("skipped: golden vectors not found at " + file);
            Assumptions.abort("golden vectors not found at " + file);
        }
        return new ObjectMapper().readTree(file.toFile());
    }

    private static float[] bf16(JsonNode bits) {
        float[] values = new float[bits.size()];
        for (int i = 0; i < values.length; i++) {
            values[i] = BFloat16.fromBits(bits.get(i).asInt());
        }
        return values;
    }

    private static float[] fp32(JsonNode bits) {
        float[] values = new float[bits.size()];
        for (int i = 0; i < values.length; i++) {
            values[i] = Float.intBitsToFloat((int) bits.get(i).asLong());
        }
        return values;
    }

    private static byte[] bytes(JsonNode values) {
        byte[] bytes = new byte[values.size()];
        for (int i = 0; i < bytes.length; i++) {
            bytes[i] = (byte) values.get(i).asInt();
        }
        return bytes;
    }

    private static byte[] positiveZeros(byte[] codes) {
        byte[] out = codes.clone();
        for (int i = 0; i < out.length; i++) {
            if ((out[i] & 0x0F) == 0x08) {
                out[i] &= (byte) 0xF0;
            }
            if ((out[i] & 0xF0) == 0x80) {
                out[i] &= 0x0F;
            }
        }
        return out;
    }
}
