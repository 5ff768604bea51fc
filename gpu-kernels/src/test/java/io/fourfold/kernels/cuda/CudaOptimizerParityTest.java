package io.fourfold.kernels.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.cuda.CudaPair.Twin;
import io.fourfold.kernels.numeric.ExactSum;
import io.fourfold.kernels.op.AdamWStep;
import io.fourfold.kernels.op.SegmentAmax;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import java.util.function.BiConsumer;
import java.util.function.Function;
import java.util.stream.LongStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** AdamW and the splitting of weights are equal to the CPU's to the bit; squared norms differ in the order of sums: 3e-6. */
@Tag("gpu")
class CudaOptimizerParityTest {
    private static final int COUNT = 4099;
    private static final AdamWStep STEP = new AdamWStep(3, 1e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, 0.7f);

    @SuppressWarnings("NullAway.Init")
    private static CudaPair pair;

    @BeforeAll
    static void open() {
        pair = CudaPair.open(37);
    }

    @AfterAll
    @SuppressWarnings("ConstantConditions")
    static void close() {
        if (pair != null) {
            pair.close();
        }
    }

    private static void both(BiConsumer<Backend, Function<Twin, Tensor>> call) {
        call.accept(pair.cpu, Twin::cpu);
        call.accept(pair.cuda, Twin::cuda);
    }

    private static void same(String what, Twin result) {
        if (result.cpu().dtype().isFloat()) {
            pair.assertSameBits(what, result.cpu(), result.cuda());
        } else {
            assertThat(pair.cuda.downloadInts(result.cuda())).as(what).isEqualTo(pair.cpu.downloadInts(result.cpu()));
        }
    }

    private static Twin remainders(int count) {
        Twin twin = new Twin(pair.cpuScope.allocate(DType.INT16, count), pair.cudaScope.allocate(DType.INT16, count));
        int[] values =
                pair.random.ints(count, Short.MIN_VALUE, Short.MAX_VALUE + 1).toArray();
        pair.cpu.upload(values, twin.cpu());
        pair.cuda.upload(values, twin.cuda());
        return twin;
    }

    /** From element 0, where accesses are wide, and from one where they are not. */
    @ParameterizedTest
    @ValueSource(ints = {0, 1})
    void adamW(int from) {
        int n = COUNT - from;
        Twin w = pair.floats(DType.FP32, weights(COUNT), COUNT).view(from, n);
        Twin g = pair.gaussian(DType.FP32, 1, COUNT).view(from, n);
        Twin m = pair.gaussian(DType.FP32, 1, COUNT).view(from, n);
        Twin v = pair.floats(DType.FP32, squares(COUNT), COUNT).view(from, n);
        both((on, of) -> on.optimizer().adamW(of.apply(w), of.apply(g), of.apply(m), of.apply(v), STEP));
        same("weight", w);
        same("moment1", m);
        same("moment2", v);
    }

    /** Segments that end anywhere, some of them empty or within a warp, one with infinity; many of them, and one alone. */
    @ParameterizedTest
    @ValueSource(ints = {0, 1})
    void adamWTellsLargestMagnitudes(int from) {
        int n = 3 * COUNT - from;
        long[] cut = {0, 1, 5, 5, 128, 129, 1024, 2048, 2050, 4096, 8192, 9000, n};
        long[] even =
                LongStream.rangeClosed(0, 1000).map(i -> i == 1000 ? n : i * 12).toArray();
        for (long[] starts : new long[][] {cut, even, {0, n}}) {
            int segments = starts.length - 1;
            Twin w = pair.gaussian(DType.FP32, 1, 3 * COUNT).view(from, n);
            Twin g = pair.floats(DType.FP32, infiniteAt(4000, 3 * COUNT), 3 * COUNT)
                    .view(from, n);
            Twin m = pair.gaussian(DType.FP32, 1, 3 * COUNT).view(from, n);
            Twin v = pair.floats(DType.FP32, squares(3 * COUNT), 3 * COUNT).view(from, n);
            Twin amax = pair.floats(DType.FP32, new float[segments], segments);
            both((on, of) -> on.optimizer()
                    .adamW(
                            of.apply(w),
                            of.apply(g),
                            of.apply(m),
                            of.apply(v),
                            STEP,
                            new SegmentAmax(starts, of.apply(amax))));
            same("weight", w);
            same("moment1", m);
            same("moment2", v);
            same(segments + " largest magnitudes", amax);
        }
    }

    private static float[] infiniteAt(int index, int count) {
        float[] values = pair.gaussianValues(1, count);
        values[index] = Float.POSITIVE_INFINITY;
        return values;
    }

    /** Five steps; the third makes every update zero, so that the weights' awkward bits only pass through. */
    @ParameterizedTest
    @ValueSource(ints = {0, 3, 4})
    void adamWOfSplitWeights(int from) {
        int n = COUNT - from;
        Twin whole = pair.floats(DType.FP32, weights(n), n);
        Twin head = pair.poison(DType.BF16, COUNT).view(from, n);
        Twin rest = remainders(COUNT).view(from, n);
        Twin g = pair.gaussian(DType.FP32, 1, COUNT).view(from, n);
        Twin m = pair.gaussian(DType.FP32, 1, COUNT).view(from, n);
        Twin v = pair.floats(DType.FP32, squares(COUNT), COUNT).view(from, n);
        both((on, of) -> on.optimizer().split(of.apply(whole), of.apply(head), of.apply(rest)));
        for (int t = 1; t <= 5; t++) {
            float rate = t == 3 ? 0 : 1e-3f;
            AdamWStep step = new AdamWStep(t, rate, 0.9f, 0.95f, 1e-8f, 0.1f, 0.7f);
            both((on, of) ->
                    on.optimizer().adamW(of.apply(head), of.apply(rest), of.apply(g), of.apply(m), of.apply(v), step));
            same("BF16 weight, step " + t, head);
            same("remainder, step " + t, rest);
        }
        same("moment1", m);
        same("moment2", v);
        Twin joined = pair.poison(DType.FP32, n);
        both((on, of) -> on.optimizer().join(of.apply(head), of.apply(rest), of.apply(joined)));
        same("joined", joined);
    }

    /** The same weights whole and split give the same numbers. */
    @Test
    void splittingChangesNoUpdate() {
        Twin w = pair.floats(DType.FP32, weights(COUNT), COUNT);
        Twin g = pair.gaussian(DType.FP32, 1, COUNT);
        Twin m = pair.gaussian(DType.FP32, 1, COUNT);
        Twin v = pair.floats(DType.FP32, squares(COUNT), COUNT);
        Twin m2 = pair.poison(DType.FP32, COUNT);
        Twin v2 = pair.poison(DType.FP32, COUNT);
        pair.cuda.elementwise().copy(m.cuda(), m2.cuda());
        pair.cuda.elementwise().copy(v.cuda(), v2.cuda());
        Twin head = pair.poison(DType.BF16, COUNT);
        Twin rest = remainders(COUNT);
        Twin joined = pair.poison(DType.FP32, COUNT);
        pair.cuda.optimizer().split(w.cuda(), head.cuda(), rest.cuda());
        pair.cuda.optimizer().adamW(w.cuda(), g.cuda(), m.cuda(), v.cuda(), STEP);
        pair.cuda.optimizer().adamW(head.cuda(), rest.cuda(), g.cuda(), m2.cuda(), v2.cuda(), STEP);
        pair.cuda.optimizer().join(head.cuda(), rest.cuda(), joined.cuda());
        CudaPair.assertSameBits("weight", pair.cuda.download(w.cuda()), pair.cuda.download(joined.cuda()));
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 1, 4})
    void splitAndJoin(int from) {
        float[] values = weights(1 << 16);
        int n = values.length - from;
        Twin whole = pair.floats(DType.FP32, values, values.length).view(from, n);
        Twin head = pair.poison(DType.BF16, values.length).view(from, n);
        Twin rest = remainders(values.length).view(from, n);
        both((on, of) -> on.optimizer().split(of.apply(whole), of.apply(head), of.apply(rest)));
        same("head", head);
        same("remainder", rest);
        Twin alone = pair.poison(DType.BF16, n);
        both((on, of) -> on.optimizer().split(of.apply(whole), of.apply(alone), null));
        same("head alone", alone);
        Twin joined = pair.poison(DType.FP32, n);
        both((on, of) -> on.optimizer().join(of.apply(head), of.apply(rest), of.apply(joined)));
        same("joined", joined);
        same("joined is the number", new Twin(whole.cpu(), joined.cuda()));
    }

    @Test
    void squaredNorms() {
        Twin values = pair.gaussian(DType.FP32, 1, 700_003);
        Twin total = pair.gaussian(DType.FP32, 1, 1);
        both((on, of) -> on.optimizer().addSquaredNorm(of.apply(values), of.apply(total)));
        pair.assertClose("squared norm", total.cpu(), total.cuda(), 3e-6);
    }

    /** Gradients of any size, and some that are not finite; segments that begin anywhere; buffers that are not aligned. */
    @ParameterizedTest
    @ValueSource(ints = {0, 1, 4})
    void sumsOfSquares(int from) {
        long[] starts = {0, 7, 7, 600_001, 600_010, 700_003};
        int n = (int) starts[starts.length - 1];
        for (boolean finite : new boolean[] {true, false}) {
            float[] data = finite ? pair.gaussianValues(1, n + from) : weights(n + from);
            for (int i = 0; i < data.length && finite; i++) {
                data[i] = Math.scalb(data[i], -pair.random.nextInt(120));
            }
            Twin values = pair.floats(DType.FP32, data, n + from).view(from, n);
            Twin sums = pair.ints(new int[(starts.length - 1) * ExactSum.INTS]);
            long[] own = starts.clone();
            both((on, of) -> on.optimizer().sumSquares(of.apply(values), own, of.apply(sums)));
            assertThat(pair.cuda.downloadInts(sums.cuda())).isEqualTo(pair.cpu.downloadInts(sums.cpu()));
        }
    }

    /** Ordinary numbers, ties of the split, denormals, the ends of the range, infinities, NaN of all kinds; any sign. */
    private static float[] weights(int count) {
        float[] values = pair.gaussianValues(1, count);
        for (int i = 0; i < count; i++) {
            int bits = pair.random.nextInt();
            int chosen = switch (i % 16) {
                case 0, 1 -> (bits & 0xFFFF_0000) | 0x8000;
                case 2 -> bits & 0x807F_FFFF;
                case 3 -> (bits & 0x8000_FFFF) | 0x7F7F_0000;
                case 4 -> bits;
                case 5 -> (bits & 0x8000_0000) | 0x7F80_0000;
                case 6 -> bits | 0x7F80_0000;
                case 7 -> bits & 0x8000_0000;
                default -> Float.floatToRawIntBits(values[i]);
            };
            values[i] = Float.intBitsToFloat(chosen);
        }
        return values;
    }

    private static float[] squares(int count) {
        float[] values = pair.gaussianValues(1, count);
        for (int i = 0; i < count; i++) {
            values[i] *= values[i];
        }
        return values;
    }
}
