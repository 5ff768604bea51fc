package io.fourfold.model;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.QuantizeOps;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import io.fourfold.moe.ExpertRows;
import io.fourfold.precision.LinearPrecision;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * One linear layer per local expert over expert-sorted rows: Y_e = X_e * W_e^T. Weights [G, N, K], each with its own
 * tensor scale. Otherwise as {@link Linear}.
 */
final class GroupedLinear {
    private final Backend backend;
    private final LinearFormats formats;
    private final Parameter weight;
    private final int firstExpert;
    private final WeightSplit split;
    private final GradientSquares squares;
    private @Nullable LinearPrecision precision;
    /** The next backward is the step's first and writes the weight gradient instead of adding to it. */
    private boolean overwrites;

    private @Nullable GroupedOperand fpropW;
    private @Nullable GroupedOperand dgradW;

    /**
     * @param weight [G, N, K], the local experts
     * @param firstExpert global index of local expert 0
     * @param squares where the squared norm of the weight gradient goes
     */
    GroupedLinear(
            Backend backend,
            LinearFormats formats,
            Parameter weight,
            int firstExpert,
            WeightSplit split,
            GradientSquares squares) {
        this.backend = backend;
        this.formats = formats;
        this.weight = weight;
        this.firstExpert = firstExpert;
        this.split = split;
        this.squares = squares;
    }

    /** Makes the weight operands from the master weights; once per optimizer step. */
    void prepare(WeightPreparation preparation) {
        LinearPrecision chosen = preparation.precision(formats);
        OperandSpec forward = chosen.fpropW();
        OperandSpec dgrad = chosen.dgradW();
        Tensor rounded = preparation.source(weight, forward, dgrad);
        QuantizeOps quantize = backend.quantize();
        StepContext step = preparation.step();
        fpropW = quantize.stacked(
                forward.quantized() ? weight.weight() : rounded,
                false,
                forward,
                formats.probe(step, "fprop.w", forward),
                split.weight(),
                preparation.scope());
        dgradW = preparation.backward()
                ? quantize.columnsOf(
                        prepared(fpropW),
                        forward,
                        dgrad.quantized() ? weight.weight() : rounded,
                        dgrad,
                        formats.probe(step, "dgrad.w", dgrad),
                        split.weight(),
                        preparation.scope())
                : null;
        precision = chosen;
        overwrites = preparation.overwrites(weight);
    }

    /** Where this layer's input must be allocated: kept when backward reads it through a shared operand. */
    TensorScope inputScope(Pass pass, TensorScope work) {
        return !pass.training() || precision().wgradX().quantized() ? work : pass.kept();
    }

    /**
     * Writes y [R, N].
     *
     * @param x [R, K], sorted as {@code rows} says
     * @return the wgrad operand of x, null in evaluation
     */
    @Nullable
    OperandSource<GroupedOperand> forward(Pass pass, ExpertRows rows, Tensor x, Tensor y, TensorScope work) {
        return forward(pass, rows, x, y, work, null);
    }

    /**
     * The same for an input that may not be kept.
     *
     * @param again makes x once more; null when backward may read x where it is, or what its operand keeps of it
     */
    @Nullable
    OperandSource<GroupedOperand> forward(
            Pass pass, ExpertRows rows, Tensor x, Tensor y, TensorScope work, @Nullable InputAgain again) {
        QuantizeOps quantize = backend.quantize();
        StepContext step = pass.step();
        OperandSpec spec = precision().fpropX();
        GroupedOperand byRows = quantize.ragged(
                x,
                rows.offsets(),
                false,
                spec,
                firstExpert,
                null,
                pass.counts() ? formats.probe(step, "fprop.x", spec) : null,
                split.input(),
                work);
        backend.gemm().multiplyGrouped(byRows, prepared(fpropW), y);
        if (!pass.training()) {
            return null;
        }
        if (again != null) {
            return backwardWork -> byColumns(rows, again.compute(backwardWork), step, backwardWork);
        }
        GroupedOperand columns = byColumns(rows, x, step, pass.kept());
        return backwardWork -> columns;
    }

    private GroupedOperand byColumns(ExpertRows rows, Tensor x, StepContext step, TensorScope scope) {
        OperandSpec wgrad = precision().wgradX();
        return backend.quantize()
                .ragged(
                        x,
                        rows.offsets(),
                        true,
                        wgrad,
                        firstExpert,
                        null,
                        formats.probe(step, "wgrad.x", wgrad),
                        split.input(),
                        scope);
    }

    /**
     * Writes dx [R, K] and adds to the weight gradients.
     *
     * @param xByColumns what forward returned
     */
    void backward(
            Pass pass,
            ExpertRows rows,
            @Nullable OperandSource<GroupedOperand> xByColumns,
            Tensor dy,
            Tensor dx,
            TensorScope work) {
        QuantizeOps quantize = backend.quantize();
        StepContext step = pass.step();
        OperandSpec dgrad = precision().dgradDy();
        GroupedOperand byRows = quantize.ragged(
                dy,
                rows.offsets(),
                false,
                dgrad,
                firstExpert,
                formats.random(step, dgrad, rows.rowIds(), split.outputGroups()),
                formats.probe(step, "dgrad.dy", dgrad),
                split.output(),
                work);
        backend.gemm().multiplyGrouped(byRows, prepared(dgradW), dx);
        OperandSpec wgrad = precision().wgradDy();
        GroupedOperand byColumns = quantize.ragged(
                dy,
                rows.offsets(),
                true,
                wgrad,
                firstExpert,
                formats.random(step, wgrad, rows.rowIds(), split.outputGroups()),
                formats.probe(step, "wgrad.dy", wgrad),
                split.output(),
                work);
        backend.gemm()
                .multiplyGroupedDepth(
                        byColumns,
                        Objects.requireNonNull(xByColumns).operand(work),
                        weight.grad(),
                        !overwrites,
                        overwrites ? squares.written(weight) : null);
        overwrites = false;
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
