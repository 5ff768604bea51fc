package io.fourfold.model;

import io.fourfold.kernels.op.AmaxExchange;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import org.jspecify.annotations.Nullable;

/**
 * The NVFP4 codes of one kind's weights, whole on every rank after the optimizer has gathered them, and the largest magnitude
 * of each matrix.
 *
 * @param words INT32, strips in the order of the flat buffer
 * @param amax FP32 [matrices]
 * @param split over the ranks that hold other parts of the same matrices (TP, ETP); null = they are whole
 */
public record WeightCodes(
        CodeLayout layout,
        OperandSpec spec,
        Tensor words,
        Tensor amax,
        @Nullable AmaxExchange split) {
    /** The codes of one parameter. */
    record Coded(Tensor words, int rows, int cols, Tensor amax) {}

    static WeightCodes allocate(CodeLayout layout, OperandSpec spec, @Nullable AmaxExchange split, TensorScope scope) {
        return new WeightCodes(
                layout,
                spec,
                scope.zeros(DType.INT32, Shape.flat(layout.words())),
                scope.zeros(DType.FP32, layout.count()),
                split);
    }

    /** Words of some strips. */
    public Tensor words(CodeLayout.Part part) {
        return words.view(part.firstWord(), Shape.flat(part.words()));
    }

    /** Largest magnitudes of some matrices. */
    public Tensor amax(CodeLayout.Matrices matrices) {
        return amax.view(matrices.first(), Shape.of(matrices.count()));
    }

    @Nullable
    Coded of(String parameter) {
        CodeLayout.Matrices matrices = layout.of(parameter);
        if (matrices == null) {
            return null;
        }
        Tensor part = words.view(matrices.firstWord(), Shape.flat(matrices.words()));
        return new Coded(part, matrices.rows(), matrices.cols(), amax(matrices));
    }
}
