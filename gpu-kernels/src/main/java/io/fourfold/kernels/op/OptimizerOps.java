package io.fourfold.kernels.op;

import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/** The optimizer over flat FP32 buffers. */
public interface OptimizerOps {
    /**
     * For each element, in FP32: g = grad*gradScale; m = b1*m + (1-b1)*g; v = b2*v + (1-b2)*g*g;
     * w -= lr * ( (m/(1-b1^t)) / (sqrt(v/(1-b2^t)) + eps) + wd*w ).
     *
     * @param rounded BF16, receives the new weights rounded to nearest even; or null
     */
    void adamW(Tensor weight, Tensor grad, Tensor moment1, Tensor moment2, @Nullable Tensor rounded, AdamWStep step);

    /** Without a rounded copy. */
    default void adamW(Tensor weight, Tensor grad, Tensor moment1, Tensor moment2, AdamWStep step) {
        adamW(weight, grad, moment1, moment2, null, step);
    }

    /** out[0] += sum of squares, accumulated in FP64 within the call. Non-finite values carry through. */
    void addSquaredNorm(Tensor values, Tensor out);

    /**
     * out[i] += the sum of squares of {@code values[starts[i] .. starts[i + 1])}, as {@link #addSquaredNorm}.
     *
     * @param starts ascending, one more than {@code out} has elements; the same array every time, unchanged
     */
    default void addSquaredNorms(Tensor values, long[] starts, Tensor out) {
        for (int i = 0; i + 1 < starts.length; i++) {
            addSquaredNorm(values.view(starts[i], Shape.flat(starts[i + 1] - starts[i])), out.view(i, Shape.of(1)));
        }
    }
}
