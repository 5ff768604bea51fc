package io.fourfold.kernels.quant;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.kernels.numeric.Float4E2M1;
import io.fourfold.kernels.numeric.Float8E4M3;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import io.fourfold.kernels.op.OperandSpec.Format;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

/**
 * Codes and scales laid out for FP4 tensor cores, read back the way the library's documentation says it reads them, give
 * the products of the packed matrices: dense, rows of experts, depth of experts.
 */
class Nvfp4ProductTest {
    private static final OperandSpec ROWS = OperandSpec.of(Format.NVFP4, Blocks.B1X16);
    private static final OperandSpec COLUMNS = ROWS.withHadamard(true);
    private static final OperandSpec WEIGHT = OperandSpec.of(Format.NVFP4, Blocks.B16X16);

    private final Random random = new Random(5);

    /** The buffers of one operand. */
    private record Buffers(Nvfp4Layout layout, byte[] codes, byte[] scales, PackedMatrix[] groups) {
        static Buffers of(Nvfp4Layout layout, PackedMatrix... groups) {
            byte[] codes = new byte[Math.toIntExact(layout.codeBytes())];
            byte[] scales = new byte[Math.toIntExact(layout.scaleBytes())];
            for (int g = 0; g < groups.length; g++) {
                layout.place(g, groups[g], codes, scales);
            }
            return new Buffers(layout, codes, scales, groups);
        }
    }

    private float[] values(int count) {
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = (float) random.nextGaussian();
        }
        return values;
    }

    private PackedMatrix pack(int rows, int cols, boolean byColumns, OperandSpec spec) {
        return PackingQuantizer.quantize(values(rows * cols), rows, cols, byColumns, spec, null);
    }

    /**
     * Element (row, k) as the library finds it: a column-major FP4 matrix [k, rows] with leading dimension K, two elements a
     * byte, and the scale from the documented formula of the 128 x 4 tiles.
     */
    private static float element(Buffers operand, long codesAt, long scalesAt, int leading, int row, int k) {
        assertThat(codesAt % 16).isZero();
        assertThat(scalesAt % 512).isZero();
        long index = (long) row * leading + k;
        int code = operand.codes[(int) (codesAt + index / 2)] >>> (index % 2 * 4) & 0xF;
        int block = k / 16;
        int tilesInRow = leading / 64;
        long at = ((long) (row / 128) * tilesInRow + block / 4) * 512
                + (row % 32) * 16
                + (row % 128 / 32) * 4
                + block % 4;
        return Float4E2M1.decode(code) * Float8E4M3.decode(operand.scales[(int) (scalesAt + at)]);
    }

    private static void check(Buffers a, Buffers b, int firstRow, int expectedProducts) {
        List<Nvfp4Product> products = Nvfp4Product.of(a.layout, b.layout, firstRow);
        assertThat(products).hasSize(expectedProducts);
        for (Nvfp4Product product : products) {
            PackedMatrix left = a.groups[product.group()];
            PackedMatrix right = b.groups[product.group()];
            assertThat(product.m()).isEqualTo(left.rows());
            assertThat(product.n()).isEqualTo(right.rows());
            assertThat(product.k() % 64).isZero();
            for (int m = 0; m < product.m(); m++) {
                for (int n = 0; n < product.n(); n++) {
                    double sum = 0;
                    for (int k = 0; k < product.k(); k++) {
                        sum += (double) element(a, product.codesA(), product.scalesA(), product.k(), m, k)
                                * element(b, product.codesB(), product.scalesB(), product.k(), n, k);
                    }
                    double wanted = 0;
                    for (int k = 0; k < left.depth(); k++) {
                        wanted += (double) left.value(m, k) * right.value(n, k);
                    }
                    // Products of NVFP4 values are multiples of 2^-20 below 2^23: exact in FP64.
                    assertThat(sum)
                            .as("group %d, element (%d, %d)", product.group(), m, n)
                            .isEqualTo(wanted);
                }
            }
        }
    }

    @Test
    void denseProduct() {
        Buffers x = Buffers.of(Nvfp4Layout.equal(1, 130, 96), pack(130, 96, false, ROWS));
        Buffers w = Buffers.of(Nvfp4Layout.equal(1, 40, 96), pack(40, 96, false, WEIGHT));
        check(x, w, 0, 1);
    }

    @Test
    void denseWeightGradient() {
        Buffers dy = Buffers.of(Nvfp4Layout.equal(1, 48, 90), pack(90, 48, true, COLUMNS));
        Buffers x = Buffers.of(Nvfp4Layout.equal(1, 32, 90), pack(90, 32, true, COLUMNS));
        check(dy, x, 0, 1);
    }

    @Test
    void rowsOfExperts() {
        int[] offsets = {3, 20, 20, 150, 151};
        Buffers x = Buffers.of(
                Nvfp4Layout.raggedRows(offsets, 80),
                pack(17, 80, false, ROWS),
                pack(0, 80, false, ROWS),
                pack(130, 80, false, ROWS),
                pack(1, 80, false, ROWS));
        Buffers w = Buffers.of(
                Nvfp4Layout.equal(4, 32, 80),
                pack(32, 80, false, WEIGHT),
                pack(32, 80, false, WEIGHT),
                pack(32, 80, false, WEIGHT),
                pack(32, 80, false, WEIGHT));
        check(x, w, offsets[0], 3);
        List<Nvfp4Product> products = Nvfp4Product.of(x.layout, w.layout, offsets[0]);
        assertThat(products).extracting(Nvfp4Product::c).containsExactly(3L * 32, 20L * 32, 150L * 32);
        assertThat(products.get(1).codesA()).isEqualTo(20L * 128 / 2);
        assertThat(x.layout.codeBytes()).isLessThanOrEqualTo(Nvfp4Layout.mostCodeBytes(160, 4, 80, false));
        assertThat(x.layout.scaleBytes()).isLessThanOrEqualTo(Nvfp4Layout.mostScaleBytes(160, 4, 80, false));
    }

    @Test
    void depthOfExperts() {
        int[] offsets = {0, 17, 17, 100};
        Buffers dy = Buffers.of(
                Nvfp4Layout.raggedDepth(offsets, 48),
                pack(17, 48, true, COLUMNS),
                pack(0, 48, true, COLUMNS),
                pack(83, 48, true, COLUMNS));
        Buffers x = Buffers.of(
                Nvfp4Layout.raggedDepth(offsets, 32),
                pack(17, 32, true, COLUMNS),
                pack(0, 32, true, COLUMNS),
                pack(83, 32, true, COLUMNS));
        check(dy, x, 0, 3);
        List<Nvfp4Product> products = Nvfp4Product.of(dy.layout, x.layout, 0);
        assertThat(products).extracting(Nvfp4Product::c).containsExactly(0L, 48L * 32, 2 * 48L * 32);
        assertThat(products.get(1).k()).isZero();
        assertThat(dy.layout.codeBytes()).isLessThanOrEqualTo(Nvfp4Layout.mostCodeBytes(100, 3, 48, true));
        assertThat(dy.layout.scaleBytes()).isLessThanOrEqualTo(Nvfp4Layout.mostScaleBytes(100, 3, 48, true));
    }

    @Test
    void operandsMustFit() {
        Nvfp4Layout a = Nvfp4Layout.equal(1, 16, 64);
        assertThatThrownBy(() -> Nvfp4Product.of(a, Nvfp4Layout.equal(2, 16, 64), 0))
                .hasMessageContaining("1 groups, B has 2");
        assertThatThrownBy(() -> Nvfp4Product.of(a, Nvfp4Layout.equal(1, 16, 128), 0))
                .hasMessageContaining("differ in depth");
        assertThatThrownBy(() -> a.place(0, pack(8, 64, false, ROWS), new byte[512], new byte[512]))
                .hasMessageContaining("[16, 64]");
    }
}
