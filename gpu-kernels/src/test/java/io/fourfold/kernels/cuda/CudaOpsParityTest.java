package io.fourfold.kernels.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.cuda.CudaPair.Twin;
import io.fourfold.kernels.op.Activation;
import io.fourfold.kernels.op.NormOps;
import io.fourfold.kernels.op.RouterSpec;
import io.fourfold.kernels.op.RouterSpec.Score;
import io.fourfold.kernels.op.RowPart;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import java.util.function.BiConsumer;
import java.util.function.Function;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * Every operation but products, quantization and the optimizer's, GPU against CPU oracle, on small and odd sizes with poisoned outputs.
 * Sums differ in order only: 3e-6 relative by norm in FP32; a BF16 result may round the other way: 2e-3. Indices and gathers
 * are equal to the bit.
 */
@Tag("gpu")
class CudaOpsParityTest {
    @SuppressWarnings("NullAway.Init")
    private static CudaPair pair;

    @BeforeAll
    static void open() {
        pair = CudaPair.open(31);
    }

    @AfterAll
    @SuppressWarnings("ConstantConditions")
    static void close() {
        if (pair != null) {
            pair.close();
        }
    }

    /** Runs the same call on both backends; the function picks the tensor of the backend. */
    private static void both(BiConsumer<Backend, Function<Twin, Tensor>> call) {
        call.accept(pair.cpu, Twin::cpu);
        call.accept(pair.cuda, Twin::cuda);
    }

    private static void close(String what, Twin result) {
        double tolerance = result.cpu().dtype() == DType.BF16 ? 2e-3 : 3e-6;
        CudaPair.assertClose(what, pair.cpu.download(result.cpu()), pair.cuda.download(result.cuda()), tolerance);
    }

    private static void same(String what, Twin result) {
        if (result.cpu().dtype() == DType.INT32) {
            assertThat(pair.cuda.downloadInts(result.cuda())).as(what).isEqualTo(pair.cpu.downloadInts(result.cpu()));
        } else {
            pair.assertSameBits(what, result.cpu(), result.cuda());
        }
    }

    private static Twin integers(int bound, int low, int... dims) {
        int count = 1;
        for (int dim : dims) {
            count *= dim;
        }
        int[] values = pair.random.ints(count, low, bound).toArray();
        Twin flat = pair.ints(values);
        return flat.view(0, dims);
    }

    private static Twin intOutput(int count) {
        return integers(-76, -77, count);
    }

    @ParameterizedTest
    @EnumSource(
            value = DType.class,
            names = {"FP32", "BF16"})
    void elementwise(DType type) {
        Twin a = pair.gaussian(type, 1, 13, 37);
        Twin b = pair.gaussian(DType.FP32, 1, 13, 37);
        Twin out = pair.poison(type, 13, 37);
        both((on, of) -> on.elementwise().add(of.apply(a), of.apply(b), of.apply(out)));
        same("add", out);
        both((on, of) -> on.elementwise().addScaled(of.apply(b), 0.3f, of.apply(out)));
        same("addScaled", out);
        Twin bias = pair.gaussian(DType.FP32, 1, 37);
        both((on, of) -> on.elementwise().addBias(of.apply(bias), of.apply(out)));
        same("addBias", out);
        both((on, of) -> on.elementwise().biasBackward(of.apply(a), of.apply(bias)));
        close("biasBackward", bias);
        both((on, of) -> on.elementwise().fill(of.apply(out), 1.1f));
        same("fill", out);
        Twin converted = pair.poison(DType.BF16, 13, 37);
        both((on, of) -> on.elementwise().copy(of.apply(b), of.apply(converted)));
        same("copy", converted);
        Twin gate = pair.gaussian(DType.FP32, 1, 13);
        both((on, of) -> on.elementwise().addGated(of.apply(gate), of.apply(a), of.apply(out)));
        close("addGated", out);
        Twin dy = pair.poison(type, 13, 37);
        Twin dgate = pair.poison(DType.FP32, 13);
        both((on, of) -> on.elementwise()
                .addGatedBackward(of.apply(gate), of.apply(a), of.apply(b), of.apply(dy), of.apply(dgate)));
        close("addGatedBackward dy", dy);
        close("addGatedBackward dgate", dgate);
    }

    @ParameterizedTest
    @EnumSource(
            value = DType.class,
            names = {"FP32", "BF16"})
    void embeddingAndRope(DType type) {
        Twin tokens = integers(3000, 0, 700);
        Twin table = pair.gaussian(type, 1, 3000, 24);
        Twin out = pair.poison(type, 700, 24);
        both((on, of) -> on.elementwise().embedding(of.apply(tokens), of.apply(table), of.apply(out)));
        same("embedding", out);
        both((on, of) -> on.elementwise().embeddingBackward(of.apply(tokens), of.apply(out), of.apply(table)));
        same("embeddingBackward", table);
        Twin qkv = pair.gaussian(type, 1, 9, 8 * 20);
        Twin positions = integers(5000, 0, 9);
        both((on, of) -> on.elementwise().rope(of.apply(qkv), 4, 2, 20, of.apply(positions), 1e4, false));
        close("rope", qkv);
    }

    @ParameterizedTest
    @CsvSource({"FP32, 5, 40", "BF16, 5, 40", "BF16, 67, 1024", "FP32, 3, 8192", "BF16, 9, 2056"})
    void rmsNorm(DType type, int rows, int cols) {
        Twin x = pair.gaussian(type, 1, rows, cols);
        Twin weight = pair.gaussian(DType.FP32, 1, cols);
        Twin y = pair.poison(type, rows, cols);
        Twin rstd = pair.poison(DType.FP32, rows);
        both((on, of) -> on.norm().rmsNorm(of.apply(x), of.apply(weight), 1e-5f, of.apply(y), of.apply(rstd)));
        close("y", y);
        close("rstd", rstd);
        Twin dy = pair.gaussian(type, 1, rows, cols);
        Twin dx = pair.gaussian(type, 1, rows, cols);
        Twin dweight = pair.gaussian(DType.FP32, 1, cols);
        both((on, of) -> on.norm()
                .rmsNormBackward(
                        of.apply(dy),
                        of.apply(x),
                        of.apply(weight),
                        of.apply(rstd),
                        of.apply(dx),
                        true,
                        of.apply(dweight)));
        close("dx", dx);
        close("dweight", dweight);
    }

    @ParameterizedTest
    @CsvSource({"FP32, 20", "BF16, 64", "BF16, 128"})
    void headNorm(DType type, int dim) {
        Twin qkv = pair.gaussian(type, 1, 11, 8 * dim);
        Twin wq = pair.gaussian(DType.FP32, 1, dim);
        Twin wk = pair.gaussian(DType.FP32, 1, dim);
        Twin y = pair.poison(type, 11, 8 * dim);
        Twin rstd = pair.poison(DType.FP32, 11, 6);
        both((on, of) -> on.norm()
                .headNorm(of.apply(qkv), 4, 2, of.apply(wq), of.apply(wk), 1e-6f, of.apply(y), of.apply(rstd)));
        close("y", y);
        Twin dy = pair.gaussian(type, 1, 11, 8 * dim);
        Twin dq = pair.gaussian(DType.FP32, 1, dim);
        Twin dk = pair.gaussian(DType.FP32, 1, dim);
        both((on, of) -> on.norm()
                .headNormBackward(
                        of.apply(dy),
                        of.apply(qkv),
                        4,
                        2,
                        of.apply(wq),
                        of.apply(wk),
                        of.apply(rstd),
                        of.apply(dy),
                        of.apply(dq),
                        of.apply(dk)));
        close("dqkv", dy);
        close("dqueryWeight", dq);
        close("dkeyWeight", dk);
    }

    /** The fused pass has the bits of norm and rotation. */
    @ParameterizedTest
    @CsvSource({"FP32, 16, 4, 2", "BF16, 64, 4, 2", "BF16, 128, 32, 4", "BF16, 256, 3, 1"})
    void headNormRope(DType type, int dim, int heads, int kvHeads) {
        int tokens = 700;
        int width = (heads + 2 * kvHeads) * dim;
        Tensor qkv = pair.gaussian(type, 1, tokens, width).cuda();
        Tensor wq = pair.gaussian(DType.FP32, 1, dim).cuda();
        Tensor wk = pair.gaussian(DType.FP32, 1, dim).cuda();
        NormOps.Rotation rotation =
                new NormOps.Rotation(integers(5000, 0, tokens).cuda(), 10000);
        Tensor y = pair.poison(type, tokens, width).cuda();
        Tensor rstd = pair.poison(DType.FP32, tokens, heads + kvHeads).cuda();
        Tensor fused = pair.poison(type, tokens, width).cuda();
        Tensor fusedRstd = pair.poison(DType.FP32, tokens, heads + kvHeads).cuda();
        Backend cuda = pair.cuda;
        cuda.norm().headNorm(qkv, heads, kvHeads, wq, wk, 1e-6f, y, rstd);
        cuda.elementwise().rope(y, heads, kvHeads, dim, rotation.positions(), rotation.theta(), false);
        assertThat(cuda.norm().headNormRope(qkv, heads, kvHeads, wq, wk, 1e-6f, rotation, fused, fusedRstd))
                .isTrue();
        CudaPair.assertSameBits("rstd", cuda.download(rstd), cuda.download(fusedRstd));
        CudaPair.assertSameBits("y", cuda.download(y), cuda.download(fused));
        Twin dy = pair.gaussian(type, 1, tokens, width);
        Tensor dqkv = dy.cuda();
        Tensor fusedDqkv = pair.cudaScope.allocate(type, tokens, width);
        cuda.upload(pair.cpu.download(dy.cpu()), fusedDqkv);
        Tensor[] sums = new Tensor[4];
        for (int i = 0; i < sums.length; i++) {
            sums[i] = pair.floats(DType.FP32, new float[dim], dim).cuda();
        }
        cuda.elementwise().rope(dqkv, heads, kvHeads, dim, rotation.positions(), rotation.theta(), true);
        cuda.norm().headNormBackward(dqkv, qkv, heads, kvHeads, wq, wk, rstd, dqkv, sums[0], sums[1]);
        assertThat(cuda.norm()
                        .headNormRopeBackward(
                                fusedDqkv, qkv, heads, kvHeads, wq, wk, rstd, rotation, fusedDqkv, sums[2], sums[3]))
                .isTrue();
        CudaPair.assertSameBits("dqkv", cuda.download(dqkv), cuda.download(fusedDqkv));
        CudaPair.assertClose("dqueryWeight", cuda.download(sums[0]), cuda.download(sums[2]), 3e-6);
        CudaPair.assertClose("dkeyWeight", cuda.download(sums[1]), cuda.download(sums[3]), 3e-6);
    }

    @ParameterizedTest
    @CsvSource({
        "SOFTMAX_TOP_K, 128, 8, true, 1, 1",
        "TOP_K_SOFTMAX, 8, 2, false, 1, 1",
        "SIGMOID, 64, 8, true, 8, 4",
        "SOFTMAX_TOP_K, 60, 4, false, 1, 1"
    })
    void router(Score score, int experts, int k, boolean normalize, int groups, int groupTopK) {
        RouterSpec spec = new RouterSpec(experts, k, score, normalize, groups, groupTopK, 1.5f);
        float[] values = pair.gaussianValues(1, 77 * experts);
        java.util.Arrays.fill(values, 0, experts, 0f); // ties everywhere
        Twin logits = pair.floats(DType.FP32, values, 77, experts);
        Twin bias = pair.gaussian(DType.FP32, 0.1, experts);
        Twin scores = pair.poison(DType.FP32, 77, experts);
        Twin chosen = intOutput(77 * k).view(0, 77, k);
        Twin weights = pair.poison(DType.FP32, 77, k);
        Twin counts = intOutput(experts);
        both((on, of) -> on.moe()
                .route(
                        spec,
                        of.apply(logits),
                        of.apply(bias),
                        of.apply(scores),
                        of.apply(chosen),
                        of.apply(weights),
                        of.apply(counts)));
        same("experts", chosen);
        same("counts", counts);
        close("scores", scores);
        close("weights", weights);
        Twin dscores = pair.gaussian(DType.FP32, 1, 77, experts);
        Twin dweights = pair.gaussian(DType.FP32, 1, 77, k);
        Twin dlogits = pair.poison(DType.FP32, 77, experts);
        Twin fraction = pair.gaussian(DType.FP32, 1, experts);
        Twin sums = pair.gaussian(DType.FP32, 1, experts);
        Twin total = pair.gaussian(DType.FP32, 1, 1);
        both((on, of) -> {
            on.moe().balanceLoss(of.apply(scores), true, of.apply(fraction), 0.3f, of.apply(dscores), of.apply(sums));
            on.moe()
                    .routeBackward(
                            spec,
                            of.apply(logits),
                            of.apply(scores),
                            of.apply(chosen),
                            of.apply(weights),
                            of.apply(dweights),
                            of.apply(dscores),
                            of.apply(dlogits));
            on.moe().zLoss(of.apply(logits), 0.01f, of.apply(total), of.apply(dlogits));
        });
        close("dscores", dscores);
        close("score sums", sums);
        close("dlogits", dlogits);
        close("z-loss", total);
    }

    @Test
    void tokensThatTravelOnceToARank() {
        for (int k : new int[] {1, 3, 8}) {
            Twin experts = integers(12, -1, 600, k);
            Twin ranks = intOutput(600 * k);
            Twin counts = intOutput(4 * 2);
            both((on, of) -> on.moe().ranksOfSlots(of.apply(experts), 3, of.apply(ranks), of.apply(counts)));
            same("ranks", ranks);
            same("counts", counts);
            Twin weights = pair.gaussian(DType.FP32, 1, 600, k);
            Twin ids = integers(1 << 30, 0, 600);
            Twin slotOfRow = integers(600 * k, 0, 700);
            Twin packed = intOutput(700 * (2 * k + 1));
            both((on, of) -> on.moe()
                    .packRouting(
                            of.apply(experts),
                            of.apply(weights),
                            of.apply(ids),
                            of.apply(slotOfRow),
                            of.apply(packed)));
            same("packed", packed);
            Twin local = intOutput(700 * k).view(0, 700, k);
            Twin travelled = pair.poison(DType.FP32, 700, k);
            Twin travelledIds = intOutput(700);
            both((on, of) -> on.moe()
                    .unpackRouting(
                            of.apply(packed), 3, 3, of.apply(local), of.apply(travelled), of.apply(travelledIds)));
            same("local experts", local);
            same("weights", travelled);
            same("row ids", travelledIds);
            Twin offsets = intOutput(4);
            Twin rowOfSlot = intOutput(700 * k);
            Twin slots = intOutput(700 * k);
            both((on, of) -> on.moe()
                    .buildPermutation(of.apply(local), of.apply(offsets), of.apply(rowOfSlot), of.apply(slots)));
            Twin begins = intOutput(3);
            Twin ends = intOutput(3);
            for (int[] part : new int[][] {{0, 200}, {200, 650}, {650, 700}, {300, 300}}) {
                both((on, of) -> on.moe()
                        .partOfSlots(
                                of.apply(offsets),
                                of.apply(slots),
                                part[0] * k,
                                part[1] * k,
                                new RowPart(of.apply(begins), of.apply(ends))));
                same("begins", begins);
                same("ends", ends);
            }
            Twin x = pair.gaussian(DType.BF16, 1, 450, 40);
            Twin some = pair.poison(DType.BF16, 700 * k, 40);
            Twin rows = rowOfSlot.view(200 * k, 450, k);
            both((on, of) -> on.moe().spreadSomeRows(of.apply(x), null, 1, of.apply(rows), k, of.apply(some)));
            same("spreadSomeRows", some);
            Twin index = integers(450 * k, 0, 450);
            both((on, of) ->
                    on.moe().spreadSomeRows(of.apply(x), of.apply(index), k, of.apply(rows), k, of.apply(some)));
            same("spreadSomeRows with an index", some);
            Twin rankRows = integers(600, -1, 600, k);
            Twin back = pair.gaussian(DType.BF16, 1, 600, 40);
            Twin own = pair.gaussian(DType.BF16, 1, 700 * k, 40);
            Twin ownRows = rowOfSlot.view(0, 250, k);
            Twin sum = pair.poison(DType.BF16, 600, 40);
            both((on, of) -> on.moe()
                    .sumRowsAndOwn(
                            of.apply(back),
                            of.apply(rankRows),
                            100,
                            of.apply(own),
                            of.apply(ownRows),
                            k,
                            of.apply(sum)));
            same("sumRowsAndOwn", sum);
        }
    }

    @Test
    void permutation() {
        Twin experts = integers(12, -1, 600, 3);
        Twin offsets = intOutput(13);
        Twin rowOfSlot = intOutput(1800);
        Twin slotOfRow = intOutput(1900);
        both((on, of) -> on.moe()
                .buildPermutation(of.apply(experts), of.apply(offsets), of.apply(rowOfSlot), of.apply(slotOfRow)));
        same("offsets", offsets);
        same("rowOfSlot", rowOfSlot);
        same("slotOfRow", slotOfRow);
        Twin padded = intOutput(12 * 300);
        Twin paddedRows = intOutput(1800);
        both((on, of) -> on.moe()
                .buildPaddedPermutation(
                        of.apply(experts), 300, of.apply(offsets), of.apply(paddedRows), of.apply(padded)));
        same("padded offsets", offsets);
        same("padded rowOfSlot", paddedRows);
        same("padded slotOfRow", padded);
        Twin counts = intOutput(12);
        both((on, of) -> on.moe().countExperts(of.apply(experts), of.apply(counts)));
        same("counts", counts);
        Twin priority = pair.gaussian(DType.FP32, 1, 600, 3);
        Twin kept = intOutput(1800);
        both((on, of) -> on.moe()
                .dropOverCapacity(of.apply(experts), of.apply(priority), 200, 30, of.apply(kept), of.apply(counts)));
        same("kept by priority", kept);
        same("counts by priority", counts);
        both((on, of) ->
                on.moe().dropOverCapacity(of.apply(experts), null, 200, 30, of.apply(experts), of.apply(counts)));
        same("kept by position", experts);
        Twin x = pair.gaussian(DType.BF16, 1, 600, 40);
        Twin gathered = pair.poison(DType.BF16, 1900, 40);
        both((on, of) -> on.moe().gatherRows(of.apply(x), of.apply(slotOfRow), 3, of.apply(gathered)));
        same("gatherRows", gathered);
        for (DType type : new DType[] {DType.BF16, DType.FP32}) {
            for (int cols : new int[] {40, 1000, 3}) {
                Twin wide = pair.gaussian(type, 1, 600, cols);
                Twin spread = pair.poison(type, 1900, cols);
                both((on, of) -> on.moe()
                        .spreadRows(of.apply(wide), of.apply(slotOfRow), of.apply(rowOfSlot), 3, of.apply(spread)));
                same("spreadRows " + type + ' ' + cols, spread);
            }
        }
        Twin summed = pair.poison(DType.FP32, 600, 40);
        both((on, of) -> on.moe().sumRows(of.apply(gathered), of.apply(rowOfSlot), 3, of.apply(summed)));
        same("sumRows", summed);
    }

    @Test
    void segments() {
        int[] sizes = pair.random.ints(4 * 5, 0, 9).toArray();
        int rows = java.util.Arrays.stream(sizes).sum();
        Twin counts = pair.ints(sizes).view(0, 4, 5);
        Twin offsets = intOutput(6);
        Twin sourceOfTarget = intOutput(rows);
        Twin targetOfSource = intOutput(rows);
        both((on, of) -> on.moe()
                .transposeSegments(
                        of.apply(counts), of.apply(offsets), of.apply(sourceOfTarget), of.apply(targetOfSource)));
        same("offsets", offsets);
        same("sourceOfTarget", sourceOfTarget);
        same("targetOfSource", targetOfSource);
    }

    @ParameterizedTest
    @EnumSource(Activation.class)
    void activation(Activation kind) {
        for (DType type : new DType[] {DType.FP32, DType.BF16}) {
            int width = 44;
            Twin in = pair.gaussian(type, 1, 19, width * kind.inputFactor());
            Twin probability = pair.gaussian(DType.FP32, 1, 19);
            Twin out = pair.poison(type, 19, width);
            both((on, of) -> on.moe().activation(kind, of.apply(in), of.apply(probability), of.apply(out)));
            close("out", out);
            Twin dout = pair.gaussian(type, 1, 19, width);
            Twin din = pair.poison(type, 19, width * kind.inputFactor());
            Twin dp = pair.poison(DType.FP32, 19);
            both((on, of) -> on.moe()
                    .activationBackward(
                            kind, of.apply(dout), of.apply(in), of.apply(probability), of.apply(din), of.apply(dp)));
            close("din", din);
            close("dprobability", dp);
        }
    }

    @ParameterizedTest
    @CsvSource({"FP32, FP32", "BF16, BF16", "BF16, FP32"})
    void linearCrossEntropy(DType hiddenType, DType weightType) {
        Twin hidden = pair.gaussian(hiddenType, 1, 150, 64);
        Twin weight = pair.gaussian(weightType, 0.3, 304, 64);
        Twin labels = integers(304, -1, 150);
        Twin loss = pair.poison(DType.FP32, 150);
        Twin dhidden = pair.poison(hiddenType, 150, 64);
        Twin dweight = pair.gaussian(DType.FP32, 0.01, 304, 64);
        both((on, of) -> on.loss()
                .linearCrossEntropy(
                        of.apply(hidden),
                        of.apply(weight),
                        of.apply(labels),
                        0.01f,
                        of.apply(loss),
                        of.apply(dhidden),
                        of.apply(dweight)));
        close("loss", loss);
        close("dhidden", dhidden);
        CudaPair.assertClose("dweight", pair.cpu.download(dweight.cpu()), pair.cuda.download(dweight.cuda()), 1e-4);
    }

    /** Rows that a cluster of one, two, four and eight blocks holds, of lengths that are no multiple of eight too. */
    @ParameterizedTest
    @CsvSource({"FP32, 4100", "BF16, 30011", "BF16, 50304", "FP32, 96002", "BF16, 151936"})
    void crossEntropyOfLongRows(DType type, int vocabulary) {
        Twin hidden = pair.gaussian(type, 1, 5, 8);
        Twin weight = pair.gaussian(type, 0.5, vocabulary, 8);
        Twin labels = integers(vocabulary, -1, 5);
        Twin loss = pair.poison(DType.FP32, 5);
        Twin dhidden = pair.poison(type, 5, 8);
        Twin dweight = pair.gaussian(DType.FP32, 0.01, vocabulary, 8);
        both((on, of) -> on.loss()
                .linearCrossEntropy(
                        of.apply(hidden),
                        of.apply(weight),
                        of.apply(labels),
                        0.2f,
                        of.apply(loss),
                        of.apply(dhidden),
                        of.apply(dweight)));
        close("loss", loss);
        close("dhidden", dhidden);
        CudaPair.assertClose("dweight", pair.cpu.download(dweight.cpu()), pair.cuda.download(dweight.cuda()), 1e-4);
    }
}
