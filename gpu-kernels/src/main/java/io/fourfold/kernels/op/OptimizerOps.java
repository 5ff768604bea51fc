package io.fourfold.kernels.op;

import io.fourfold.kernels.numeric.ExactSum;
import io.fourfold.kernels.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * The optimizer over flat buffers. Master weights are FP32 numbers: a tensor of that type, or split into BF16 weights, which
 * matrix products read, and INT16 remainders ({@link io.fourfold.kernels.numeric.SplitFloat}).
 */
public interface OptimizerOps {
    /**
     * For each element, in FP32: g = grad*gradScale; m = b1*m + (1-b1)*g; v = b2*v + (1-b2)*g*g;
     * w -= lr * ( (m/(1-b1^t)) / (sqrt(v/(1-b2^t)) + eps) + wd*w ).
     *
     * @param weight BF16 with a remainder, FP32 without
     * @param remainder INT16 or null
     */
    void adamW(Tensor weight, @Nullable Tensor remainder, Tensor grad, Tensor moment1, Tensor moment2, AdamWStep step);

    /** Of weights that are not split. */
    default void adamW(Tensor weight, Tensor grad, Tensor moment1, Tensor moment2, AdamWStep step) {
        adamW(weight, null, grad, moment1, moment2, step);
    }

    /**
     * {@link #adamW(Tensor, Tensor, Tensor, Tensor, AdamWStep)} that also tells the largest magnitudes of the updated weights.
     *
     * @param weight FP32
     */
    void adamW(Tensor weight, Tensor grad, Tensor moment1, Tensor moment2, AdamWStep step, SegmentAmax largest);

    /**
     * Splits FP32 values.
     *
     * @param weight BF16, written
     * @param remainder INT16, written; null where another rank keeps it
     */
    void split(Tensor values, Tensor weight, @Nullable Tensor remainder);

    /** Writes the FP32 values of BF16 weights and INT16 remainders. */
    void join(Tensor weight, Tensor remainder, Tensor values);

    /** out[0] += sum of squares, accumulated in FP64 within the call. Non-finite values carry through. */
    void addSquaredNorm(Tensor values, Tensor out);

    /** Squares are summed in groups of so many elements, which begin at its multiples. */
    int SQUARES_GROUP = 16;

    /**
     * out[i] = the sum of squares of {@code values[starts[i] .. starts[i + 1])}: within each group of the buffer in FP64, even
     * elements and odd ones apart; then exactly ({@link ExactSum}). So the sum of all segments does not depend on how the
     * buffer is cut between groups, and backends agree to the bit.
     *
     * @param values FP32
     * @param starts ascending; the same array every time, unchanged
     * @param out INT32 [starts.length - 1, {@value ExactSum#INTS}]
     */
    void sumSquares(Tensor values, long[] starts, Tensor out);
}
