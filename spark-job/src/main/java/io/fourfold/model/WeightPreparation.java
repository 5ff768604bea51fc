package io.fourfold.model;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Format;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import io.fourfold.precision.LinearPrecision;
import org.jspecify.annotations.Nullable;

/**
 * The preparation of all weights for one optimizer step or one evaluation. Quantized operands are made from the FP32
 * master; a plain BF16 operand from one BF16 copy that its row and column operands share.
 *
 * @param scope where prepared weights live
 * @param backward also prepare the dgrad operands
 * @param override formats instead of the layers' own; null = the layers' own
 */
record WeightPreparation(
        Backend backend,
        TensorScope scope,
        StepContext step,
        boolean backward,
        @Nullable LinearPrecision override) {

    LinearPrecision precision(LinearFormats formats) {
        LinearPrecision own = formats.byStep().apply(step.step());
        // Layers outside the recipe (FP32 router) stay as they are.
        return override == null || own.fpropW().format() == Format.FP32 ? own : override;
    }

    /** The tensor from which operands of the given formats are made. */
    Tensor source(Tensor master, OperandSpec forward, OperandSpec dgrad) {
        boolean plain = forward.format() == Format.BF16 || (backward && dgrad.format() == Format.BF16);
        return plain ? rounded(master) : master;
    }

    /** A BF16 copy of a master weight. */
    Tensor rounded(Tensor master) {
        Tensor copy = scope.allocate(DType.BF16, master.shape());
        backend.elementwise().copy(master, copy);
        return copy;
    }
}
