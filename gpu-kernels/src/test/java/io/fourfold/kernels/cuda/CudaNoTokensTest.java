package io.fourfold.kernels.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.kernels.cuda.CudaPair.Twin;
import io.fourfold.kernels.op.Activation;
import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import io.fourfold.kernels.op.OperandSpec.Format;
import io.fourfold.kernels.op.RowFormat;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.Arrays;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** A rank whose experts get no token at all: every operation of the experts takes empty tensors and changes nothing. */
@Tag("gpu")
class CudaNoTokensTest {
    private static final int EXPERTS = 3;
    private static final int HIDDEN = 64;
    private static final int INNER = 32;

    @SuppressWarnings("NullAway.Init")
    private static CudaPair pair;

    @BeforeAll
    static void open() {
        pair = CudaPair.open(3);
    }

    @AfterAll
    @SuppressWarnings("ConstantConditions")
    static void close() {
        if (pair != null) {
            pair.close();
        }
    }

    static Stream<OperandSpec> specs() {
        OperandSpec nvfp4 = OperandSpec.of(Format.NVFP4, Blocks.B1X16);
        return Stream.of(
                OperandSpec.FP32,
                OperandSpec.BF16,
                nvfp4,
                nvfp4.withHadamard(true),
                OperandSpec.of(Format.MXFP4, Blocks.B1X32),
                OperandSpec.of(Format.FP8_E4M3, Blocks.TENSOR));
    }

    @ParameterizedTest
    @MethodSource("specs")
    void weightGradientsStay(OperandSpec spec) {
        DType type = spec.format() == Format.FP32 ? DType.FP32 : DType.BF16;
        Tensor offsets = pair.ints(0, 0, 0, 0).cuda();
        try (TensorScope scope = pair.cuda.scope(Region.ACTIVATIONS)) {
            Tensor dy = scope.allocate(type, Shape.of(0, INNER));
            Tensor x = scope.allocate(type, Shape.of(0, HIDDEN));
            Twin gradient = pair.gaussian(DType.FP32, 1, EXPERTS, INNER, HIDDEN);
            GroupedOperand left = pair.cuda.quantize().ragged(dy, offsets, true, spec, 0, null, null, scope);
            GroupedOperand right = pair.cuda.quantize().ragged(x, offsets, true, spec, 0, null, null, scope);
            pair.cuda.gemm().multiplyGroupedDepth(left, right, gradient.cuda(), true);
            pair.assertSameBits(spec + " accumulated", gradient.cpu(), gradient.cuda());
            pair.cuda.gemm().multiplyGroupedDepth(left, right, gradient.cuda(), false);
            assertThat(pair.cuda.download(gradient.cuda()))
                    .as(spec + " written")
                    .containsOnly(0f);
        }
    }

    @ParameterizedTest
    @MethodSource("specs")
    void productsOfRowsAreEmpty(OperandSpec spec) {
        if (spec.hadamard()) {
            return; // only the operands of weight gradients are transformed
        }
        DType type = spec.format() == Format.FP32 ? DType.FP32 : DType.BF16;
        Tensor offsets = pair.ints(0, 0, 0, 0).cuda();
        Tensor weights = pair.gaussian(DType.FP32, 1, EXPERTS, INNER, HIDDEN).cuda();
        try (TensorScope scope = pair.cuda.scope(Region.ACTIVATIONS)) {
            Tensor x = scope.allocate(type, Shape.of(0, HIDDEN));
            Tensor y = scope.allocate(type, Shape.of(0, INNER));
            pair.cuda
                    .gemm()
                    .multiplyGrouped(
                            pair.cuda.quantize().ragged(x, offsets, false, spec, 0, null, null, scope),
                            pair.cuda.quantize().stacked(weights, false, spec, null, scope),
                            y);
            assertThat(pair.cuda.download(y)).isEmpty();
        }
    }

    /** A rank of a split vocabulary that has no token of a batch. */
    @Test
    void embeddingsThatNoTokenAsksFor() {
        try (TensorScope scope = pair.cuda.scope(Region.ACTIVATIONS)) {
            Tensor none = scope.allocate(DType.INT32, Shape.of(0));
            Tensor rows = scope.allocate(DType.BF16, Shape.of(0, HIDDEN));
            Tensor table = pair.gaussian(DType.BF16, 1, 40, HIDDEN).cuda();
            Twin gradient = pair.gaussian(DType.FP32, 1, 40, HIDDEN);
            pair.cuda.elementwise().embedding(none, table, rows);
            pair.cuda.elementwise().embeddingBackward(none, rows, gradient.cuda());
            pair.assertSameBits("gradient", gradient.cpu(), gradient.cuda());
        }
    }

    @Test
    void rowsThatDoNotExist() {
        try (TensorScope scope = pair.cuda.scope(Region.ACTIVATIONS)) {
            Tensor none = scope.allocate(DType.INT32, Shape.of(0));
            Tensor x = pair.gaussian(DType.BF16, 1, 5, HIDDEN).cuda();
            Tensor rows = scope.allocate(DType.BF16, Shape.of(0, HIDDEN));
            pair.cuda.moe().gatherRows(x, none, 1, rows);
            Tensor in = scope.allocate(DType.BF16, Shape.of(0, 2 * INNER));
            Tensor out = scope.allocate(DType.BF16, Shape.of(0, INNER));
            Tensor probability = scope.allocate(DType.FP32, Shape.of(0));
            pair.cuda.moe().activation(Activation.SWIGLU, in, probability, out);
            pair.cuda.moe().activationBackward(Activation.SWIGLU, out, in, probability, in, probability);
            for (RowFormat format : RowFormat.values()) {
                Tensor packed = scope.allocate(DType.INT32, Shape.of(0, format.words(HIDDEN)));
                pair.cuda.moe().packRows(rows, format, packed);
                pair.cuda.moe().unpackRows(packed, format, rows);
            }
            int[] dropped = new int[5];
            Arrays.fill(dropped, -1);
            Tensor sums = pair.poison(DType.BF16, 5, HIDDEN).cuda();
            pair.cuda.moe().sumRows(rows, pair.ints(dropped).cuda(), 1, sums);
            assertThat(pair.cuda.download(sums)).containsOnly(0f);
            Tensor offsets = scope.allocate(DType.INT32, Shape.of(EXPERTS + 1));
            Tensor counts = pair.ints(new int[2 * EXPERTS]).cuda();
            pair.cuda.moe().transposeSegments(counts, offsets, none, none);
            assertThat(pair.cuda.downloadInts(offsets)).containsOnly(0);
        }
    }
}
