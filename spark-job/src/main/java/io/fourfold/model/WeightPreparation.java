package io.fourfold.model;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.op.OperandCopy;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Format;
import io.fourfold.kernels.op.WeightCodeOps;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import io.fourfold.precision.LinearPrecision;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The preparation of all weights for one optimizer step or one evaluation. Quantized operands are made from the FP32
 * master; a plain BF16 operand is the BF16 part of a split master, or a copy made here, which row and column operands share.
 *
 * @param scope where prepared weights live
 * @param backward also prepare the dgrad operands
 * @param magnitudes what the optimizer told of the weights
 * @param codes what was gathered as codes
 * @param override formats instead of the layers' own; null = the layers' own
 * @param firstWrites parameters whose layers write the step's first gradient instead of adding it; filled here
 * @param operands what the preparation makes; filled here
 */
record WeightPreparation(
        Backend backend,
        TensorScope scope,
        StepContext step,
        boolean backward,
        WeightMagnitudes magnitudes,
        GatheredCodes codes,
        @Nullable LinearPrecision override,
        FirstWrites firstWrites,
        List<Object> operands) {

    LinearPrecision precision(LinearFormats formats) {
        LinearPrecision own = formats.byStep().apply(step.step());
        // Layers outside the recipe (FP32 router) stay as they are.
        return override == null || own.fpropW().format() == Format.FP32 ? own : override;
    }

    /**
     * The codes of a weight where those were gathered instead of it.
     *
     * @throws IllegalStateException when operands of the given formats cannot be made of them
     */
    WeightCodes.@Nullable Coded coded(Parameter weight, OperandCopy forward, OperandCopy dgrad) {
        WeightCodes.Coded coded = codes.of(weight);
        boolean fits = WeightCodeOps.coded(forward.spec()) && forward.spec().equals(dgrad.spec());
        if (coded != null && (!fits || forward.probe() != null || dgrad.probe() != null)) {
            throw new IllegalStateException(weight.name() + " was gathered as codes, but step " + step.step()
                    + " needs the weight itself: " + forward.spec() + ", " + dgrad.spec());
        }
        return coded;
    }

    /** The tensor from which operands of the given formats are made. */
    Tensor source(Parameter weight, OperandSpec forward, OperandSpec dgrad) {
        boolean plain = forward.format() == Format.BF16 || (backward && dgrad.format() == Format.BF16);
        if (weight.weight().dtype() == DType.BF16
                && (forward.format() != Format.BF16 || dgrad.format() != Format.BF16)) {
            throw new IllegalStateException("only BF16 products read split masters: " + weight.name() + ", " + forward);
        }
        return plain ? rounded(weight) : weight.weight();
    }

    /** The largest magnitudes of a source of operands, where they are known: of the master weight itself. */
    @Nullable
    Tensor amax(Parameter weight, Tensor source) {
        return source == weight.weight() ? magnitudes.of(weight) : null;
    }

    /** A master weight in BF16. */
    Tensor rounded(Parameter weight) {
        if (weight.weight().dtype() == DType.BF16) {
            return weight.weight();
        }
        Tensor copy = scope.allocate(DType.BF16, weight.weight().shape());
        backend.elementwise().copy(weight.weight(), copy);
        return copy;
    }

    /** Tells what was made for a layer. */
    void made(@Nullable Object byRows, @Nullable Object byColumns) {
        if (byRows != null) {
            operands.add(byRows);
        }
        if (byColumns != null) {
            operands.add(byColumns);
        }
    }

    /** Tells, in a training step, that the layer of this weight writes the step's first gradient, and where to ask for it. */
    FirstWrites overwriting(Parameter weight) {
        if (backward) {
            firstWrites.add(weight);
        }
        return firstWrites;
    }
}
