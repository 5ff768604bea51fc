package io.fourfold.model;

import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;

/** RMSNorm before a sublayer. Keeps the reciprocal norms; its input is the residual stream, kept by the block. */
record RmsNorm(Parameter weight, float epsilon) {
    /** Writes y [T, H]; returns the reciprocal norms FP32 [T], allocated in {@code scope}. */
    Tensor forward(Pass pass, Tensor x, Tensor y, TensorScope scope) {
        Tensor rstd = scope.allocate(DType.FP32, x.dim(0));
        pass.backend().norm().rmsNorm(x, weight.weight(), epsilon, y, rstd);
        return rstd;
    }

    /** Writes dx or adds to it, and adds to the weight gradient. */
    void backward(Pass pass, Tensor dy, Tensor x, Tensor rstd, Tensor dx, boolean accumulate) {
        pass.backend().norm().rmsNormBackward(dy, x, weight.weight(), rstd, dx, accumulate, weight.grad());
    }
}
