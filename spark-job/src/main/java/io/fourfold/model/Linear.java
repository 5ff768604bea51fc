package io.fourfold.model;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.QuantizeOps;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import io.fourfold.precision.LinearPrecision;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * Y [T, N] = X [T, K] * W [N, K]^T + bias.
 *
 * <p>The column operand of X for wgrad is made in forward, right after the row operand: X is hot then, and with a
 * quantized format X itself need not be kept (4.5 instead of 16 bits an element for NVFP4). A plain operand shares X's
 * memory, so X then has to live in the kept scope: allocate X in {@link #inputScope}.
 */
final class Linear {
    private final Backend backend;
    private final LinearFormats formats;
    private final Parameter weight;
    private final @Nullable Parameter bias;
    private @Nullable LinearPrecision precision;
    private @Nullable GemmOperand fpropW;
    private @Nullable GemmOperand dgradW;

    /**
     * @param weight [N, K]
     * @param bias [N] or null
     */
    Linear(Backend backend, LinearFormats formats, Parameter weight, @Nullable Parameter bias) {
        this.backend = backend;
        this.formats = formats;
        this.weight = weight;
        this.bias = bias;
    }

    String name() {
        return formats.name();
    }

    Parameter weight() {
        return weight;
    }

    /** Makes the weight operands from the master weight; once per optimizer step. */
    void prepare(WeightPreparation preparation) {
        LinearPrecision chosen = preparation.precision(formats);
        OperandSpec forward = chosen.fpropW();
        OperandSpec dgrad = chosen.dgradW();
        Tensor rounded = preparation.source(weight.weight(), forward, dgrad);
        QuantizeOps quantize = backend.quantize();
        StepContext step = preparation.step();
        fpropW = quantize.operand(
                forward.quantized() ? weight.weight() : rounded,
                false,
                forward,
                null,
                formats.probe(step, "fprop.w", forward),
                preparation.scope());
        dgradW = preparation.backward()
                ? quantize.operand(
                        dgrad.quantized() ? weight.weight() : rounded,
                        true,
                        dgrad,
                        null,
                        formats.probe(step, "dgrad.w", dgrad),
                        preparation.scope())
                : null;
        precision = chosen;
    }

    /** Where this layer's input must be allocated: kept when backward reads it through a shared operand. */
    TensorScope inputScope(Pass pass, TensorScope work) {
        return !pass.training() || precision().wgradX().quantized() ? work : pass.kept();
    }

    /**
     * Writes y.
     *
     * @return the wgrad operand of x, null in evaluation
     */
    @Nullable
    GemmOperand forward(Pass pass, Tensor x, Tensor y, TensorScope work) {
        QuantizeOps quantize = backend.quantize();
        StepContext step = pass.step();
        OperandSpec spec = precision().fpropX();
        GemmOperand rows = quantize.operand(x, false, spec, null, formats.probe(step, "fprop.x", spec), work);
        backend.gemm().multiply(rows, prepared(fpropW), y, false);
        if (bias != null) {
            backend.elementwise().addBias(bias.weight(), y);
        }
        if (!pass.training()) {
            return null;
        }
        OperandSpec wgrad = precision().wgradX();
        return quantize.operand(x, true, wgrad, null, formats.probe(step, "wgrad.x", wgrad), pass.kept());
    }

    /**
     * Adds to the weight and bias gradients and writes or adds to dx.
     *
     * @param xByColumns what forward returned
     * @param accumulate true: dx += gradient
     */
    void backward(
            Pass pass, @Nullable GemmOperand xByColumns, Tensor dy, Tensor dx, boolean accumulate, TensorScope work) {
        QuantizeOps quantize = backend.quantize();
        StepContext step = pass.step();
        Tensor rowIds = pass.batch().rowIds();
        OperandSpec dgrad = precision().dgradDy();
        GemmOperand rows = quantize.operand(
                dy, false, dgrad, formats.random(step, dgrad, rowIds), formats.probe(step, "dgrad.dy", dgrad), work);
        backend.gemm().multiply(rows, prepared(dgradW), dx, accumulate);
        OperandSpec wgrad = precision().wgradDy();
        GemmOperand columns = quantize.operand(
                dy, true, wgrad, formats.random(step, wgrad, rowIds), formats.probe(step, "wgrad.dy", wgrad), work);
        backend.gemm().multiply(columns, Objects.requireNonNull(xByColumns), weight.grad(), true);
        if (bias != null) {
            backend.elementwise().biasBackward(dy, bias.grad());
        }
    }

    private LinearPrecision precision() {
        return prepared(precision);
    }

    private <T> T prepared(@Nullable T value) {
        if (value == null) {
            throw new IllegalStateException("the weights of " + formats.name() + " are not prepared: call beginStep");
        }
        return value;
    }
}
