package io.fourfold.kernels.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.kernels.cuda.CudaPair.Twin;
import io.fourfold.kernels.op.RowFormat;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import java.util.Arrays;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/** Packed rows and copied columns on the GPU, bit for bit those of the CPU oracle. */
@Tag("gpu")
class CudaRowPackingTest {
    @SuppressWarnings("NullAway.Init")
    private static CudaPair pair;

    @BeforeAll
    static void open() {
        pair = CudaPair.open(23);
    }

    @AfterAll
    @SuppressWarnings("ConstantConditions")
    static void close() {
        if (pair != null) {
            pair.close();
        }
    }

    @ParameterizedTest
    @CsvSource({
        "FP8, 64, 256", "FP8, 33, 200", "FP8, 5, 7", "FP8, 9, 130", "FP8, 3, 2056", "FP8, 70, 4096",
        "NVFP4, 64, 256", "NVFP4, 33, 200", "NVFP4, 5, 7", "NVFP4, 9, 24", "NVFP4, 3, 2056", "NVFP4, 70, 4096"
    })
    void packAndUnpack(RowFormat format, int rows, int cols) {
        for (DType type : new DType[] {DType.FP32, DType.BF16}) {
            float[] values = pair.awkwardValues(rows * cols);
            for (int r = 0; r < rows; r++) {
                scale(values, r * cols, cols, (float) Math.pow(2, r % 60 - 30));
            }
            Arrays.fill(values, 0, cols, 0f);
            Twin x = pair.floats(type, values, rows, cols);
            Twin packed = packed(rows, format.words(cols));
            pair.cpu.moe().packRows(x.cpu(), format, packed.cpu());
            pair.cuda.moe().packRows(x.cuda(), format, packed.cuda());
            String what = format + " [" + rows + ", " + cols + "] " + type;
            assertThat(pair.cuda.downloadInts(packed.cuda())).as(what).isEqualTo(pair.cpu.downloadInts(packed.cpu()));
            Twin out = pair.poison(DType.FP32, rows, cols);
            pair.cpu.moe().unpackRows(packed.cpu(), format, out.cpu());
            pair.cuda.moe().unpackRows(packed.cuda(), format, out.cuda());
            pair.assertSameBits(what + " unpacked", out.cpu(), out.cuda());
            Twin narrow = pair.poison(DType.BF16, rows, cols);
            pair.cuda.moe().unpackRows(packed.cuda(), format, narrow.cuda());
            CudaPair.assertSameBits(
                    what + " unpacked to BF16", pair.cpu.download(out.cpu()), pair.cuda.download(narrow.cuda()));
        }
    }

    /** A row or block with a value that is not finite comes back as NaN; its codes mean nothing. */
    @ParameterizedTest
    @EnumSource(RowFormat.class)
    void whatIsNotFiniteShows(RowFormat format) {
        int cols = 320;
        float[] values = pair.gaussianValues(1, 4 * cols);
        values[cols + 200] = Float.NaN;
        values[2 * cols + 5] = Float.POSITIVE_INFINITY;
        values[3 * cols + 319] = Float.NEGATIVE_INFINITY;
        Twin x = pair.floats(DType.FP32, values, 4, cols);
        Twin packed = packed(4, format.words(cols));
        Twin out = pair.poison(DType.FP32, 4, cols);
        pair.cpu.moe().packRows(x.cpu(), format, packed.cpu());
        pair.cpu.moe().unpackRows(packed.cpu(), format, out.cpu());
        pair.cuda.moe().packRows(x.cuda(), format, packed.cuda());
        pair.cuda.moe().unpackRows(packed.cuda(), format, out.cuda());
        pair.assertSameBits(format.name(), out.cpu(), out.cuda());
    }

    @ParameterizedTest
    @CsvSource({
        "FP32, 17, 64, 16, 96, 32, 32",
        "FP32, 17, 63, 5, 40, 3, 30",
        "BF16, 33, 256, 128, 128, 0, 128",
        "BF16, 33, 70, 6, 44, 2, 40",
        "BF16, 33, 71, 3, 45, 7, 31",
        "INT32, 9, 24, 8, 16, 4, 12",
        "BF16, 3, 8, 8, 8, 0, 0",
        "BF16, 1, 40000, 16, 40000, 8, 39000"
    })
    void copyColumns(DType type, int rows, int cols, int from, int outCols, int to, int count) {
        if (type == DType.INT32) {
            Twin in = pair.ints(pair.random.ints(rows * cols).toArray()).view(0, rows, cols);
            Twin out = pair.ints(pair.random.ints(rows * outCols).toArray()).view(0, rows, outCols);
            pair.cpu.elementwise().copyColumns(in.cpu(), from, out.cpu(), to, count);
            pair.cuda.elementwise().copyColumns(in.cuda(), from, out.cuda(), to, count);
            assertThat(pair.cuda.downloadInts(out.cuda())).isEqualTo(pair.cpu.downloadInts(out.cpu()));
            return;
        }
        Twin in = pair.gaussian(type, 1, rows, cols);
        Twin out = pair.gaussian(type, 1, rows, outCols);
        pair.cpu.elementwise().copyColumns(in.cpu(), from, out.cpu(), to, count);
        pair.cuda.elementwise().copyColumns(in.cuda(), from, out.cuda(), to, count);
        pair.assertSameBits("columns", out.cpu(), out.cuda());
    }

    private static void scale(float[] values, int from, int count, float factor) {
        for (int i = from; i < from + count; i++) {
            values[i] *= factor;
        }
    }

    /** Words that are all set, so that what packing leaves out shows. */
    private static Twin packed(int rows, int words) {
        int[] ones = new int[rows * words];
        Arrays.fill(ones, -1);
        Twin flat = pair.ints(ones);
        return new Twin(flat.cpu().view(0, Shape.of(rows, words)), flat.cuda().view(0, Shape.of(rows, words)));
    }
}
