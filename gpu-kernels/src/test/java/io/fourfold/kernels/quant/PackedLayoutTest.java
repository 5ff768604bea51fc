package io.fourfold.kernels.quant;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.kernels.numeric.Philox4x32;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import io.fourfold.kernels.op.OperandSpec.Format;
import java.util.Arrays;
import java.util.BitSet;
import java.util.Random;
import org.junit.jupiter.api.Test;

class PackedLayoutTest {

    @Test
    void evenColumnsAreInTheLowNibbleAndThePaddingIsZero() {
        float[] x = new float[19];
        x[0] = 6;
        x[1] = -6;
        x[18] = 3;
        PackedMatrix packed =
                PackingQuantizer.quantize(x, 1, 19, false, OperandSpec.of(Format.NVFP4, Blocks.B1X16), null);
        assertThat(packed.storedDepth()).isEqualTo(32);
        assertThat(packed.codes()).hasSize(16);
        assertThat(packed.codes()[0]).isEqualTo((byte) 0xF7);
        assertThat(packed.codes()[9]).isEqualTo((byte) 0x07);
        assertThat(Arrays.copyOfRange(packed.codes(), 10, 16)).containsOnly((byte) 0);
        assertThat(packed.scales()).containsExactly((byte) 0x7E, (byte) 0x76); // 448 and 224
        assertThat(packed.value(0, 18)).isEqualTo(6 * 224f);
    }

    @Test
    void weightScalesRepeatOnTheRowsOfTheirTile() {
        float[] x = new float[32 * 16];
        Arrays.fill(x, 0, 256, 1f);
        Arrays.fill(x, 256, 512, 2f);
        byte[] scales = PackingQuantizer.quantize(x, 32, 16, false, OperandSpec.of(Format.NVFP4, Blocks.B16X16), null)
                .scales();
        assertThat(scales).hasSize(32);
        assertThat(Arrays.copyOfRange(scales, 0, 16)).containsOnly(scales[0]);
        assertThat(Arrays.copyOfRange(scales, 16, 32)).containsOnly(scales[16]);
        assertThat(scales[16]).isNotEqualTo(scales[0]);
    }

    @Test
    void swizzledPositions() {
        assertThat(ScaleSwizzle.position(0, 0, 4)).isZero();
        assertThat(ScaleSwizzle.position(0, 3, 4)).isEqualTo(3);
        assertThat(ScaleSwizzle.position(1, 0, 4)).isEqualTo(16);
        assertThat(ScaleSwizzle.position(32, 0, 4)).isEqualTo(4);
        assertThat(ScaleSwizzle.position(127, 3, 4)).isEqualTo(511);
        assertThat(ScaleSwizzle.position(0, 4, 5)).isEqualTo(512);
        assertThat(ScaleSwizzle.position(128, 0, 5)).isEqualTo(1024);
        assertThat(ScaleSwizzle.size(1, 1)).isEqualTo(512);
        assertThat(ScaleSwizzle.size(129, 5)).isEqualTo(2048);
        assertThat(ScaleSwizzle.size(0, 5)).isZero();
    }

    @Test
    void swizzlingLosesNothingAndPadsWithZeros() {
        Random random = new Random(1);
        for (int[] shape : new int[][] {{1, 1}, {33, 3}, {128, 4}, {130, 9}, {256, 8}}) {
            byte[] scales = new byte[shape[0] * shape[1]];
            BitSet used = new BitSet();
            for (int i = 0; i < scales.length; i++) {
                scales[i] = (byte) (1 + random.nextInt(255));
                used.set(ScaleSwizzle.position(i / shape[1], i % shape[1], shape[1]));
            }
            assertThat(used.cardinality()).isEqualTo(scales.length);
            byte[] swizzled = ScaleSwizzle.swizzle(scales, shape[0], shape[1]);
            assertThat(ScaleSwizzle.unswizzle(swizzled, shape[0], shape[1])).isEqualTo(scales);
            for (int i = used.nextClearBit(0); i < swizzled.length; i = used.nextClearBit(i + 1)) {
                assertThat(swizzled[i]).isZero();
            }
        }
    }

    @Test
    void everyElementHasItsOwnByteOfItsOwnCounter() {
        long seed = 0xAAAA_BBBB_1111_2222L;
        StochasticBits bits = new StochasticBits(seed, 77, 1000, 1, new int[] {9, 8, 7, 60_000}, 1, 3);
        int[] words = new int[4];
        Philox4x32.generate(37 / 16, 60_000, 1000 * 2 + 1, 77, 0x1111_2222, 0xAAAA_BBBB, words, 0);
        assertThat(bits.byteAt(2, 37)).isEqualTo((words[1] >>> 8) & 0xFF); // byte 5 of the block
        int[] row = new int[12];
        bits.fillRow(2, 38, row);
        assertThat((row[37 / 4] >>> (8 * (37 % 4))) & 0xFF).isEqualTo(bits.byteAt(2, 37));

        Philox4x32.generate(0, -2, 1000 * 2 + 1, 77, 0x1111_2222, 0xAAAA_BBBB, words, 0);
        assertThat(bits.byteAt(4, 0)).isEqualTo(words[0] & 0xFF); // the second row of padding
    }
}
