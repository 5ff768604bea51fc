package io.fourfold.model;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.op.Activation;
import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.OperandCopy;
import io.fourfold.kernels.op.OperandPair;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.QuantizeOps;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import io.fourfold.moe.ExpertRows;
import io.fourfold.moe.RowCopies;
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
    private final WeightOperands<GroupedOperand> operands;

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
        operands = new WeightOperands<>(formats, weight, maker());
    }

    Parameter weight() {
        return weight;
    }

    /** Makes the weight operands; once per optimizer step. */
    void prepare(WeightPreparation preparation) {
        operands.prepare(preparation);
    }

    private WeightOperands.Maker<GroupedOperand> maker() {
        return new WeightOperands.Maker<>() {
            @Override
            public OperandPair<GroupedOperand> ofCodes(WeightCodes.Coded coded, OperandCopy rows, OperandCopy columns) {
                return backend.weightCodes()
                        .stacked(coded.words(), coded.rows(), coded.cols(), coded.amax(), rows, columns);
            }

            @Override
            public OperandPair<GroupedOperand> pair(
                    Tensor source, OperandCopy rows, OperandCopy columns, @Nullable Tensor amax) {
                return backend.quantize().stackedPair(source, rows, columns, split.weight(), amax);
            }

            @Override
            public GroupedOperand one(Tensor source, boolean byColumns, OperandCopy copy) {
                return backend.quantize()
                        .stacked(source, byColumns, copy.spec(), copy.probe(), split.weight(), copy.scope());
            }
        };
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
        return forward(pass, rows, x, y, work, null, RowSchedule.WHOLE);
    }

    /**
     * The same for an input that may not be kept.
     *
     * @param again makes x once more; null when backward may read x where it is, or what its operand keeps of it
     * @param schedule in which order rows are multiplied, see {@link #takesParts}
     */
    @Nullable
    OperandSource<GroupedOperand> forward(
            Pass pass,
            ExpertRows rows,
            Tensor x,
            Tensor y,
            TensorScope work,
            @Nullable InputAgain again,
            RowSchedule schedule) {
        QuantizeOps quantize = backend.quantize();
        StepContext step = pass.step();
        OperandCopy rowCopy = inputRows(pass, work);
        if (pass.training() && again == null) {
            return forward(
                    quantize.raggedPair(x, rows.offsets(), firstExpert, rowCopy, inputColumns(pass), split.input()),
                    y,
                    schedule);
        }
        GroupedOperand byRows = quantize.ragged(
                x, rows.offsets(), false, rowCopy.spec(), firstExpert, null, rowCopy.probe(), split.input(), work);
        multiply(byRows, operands.forward(), y, schedule);
        return !pass.training() || again == null
                ? null
                : backwardWork -> byColumns(rows, again.compute(backwardWork), step, backwardWork);
    }

    /** The same for an input whose operands are there. */
    OperandSource<GroupedOperand> forward(OperandPair<GroupedOperand> x, Tensor y) {
        return forward(x, y, RowSchedule.WHOLE);
    }

    private OperandSource<GroupedOperand> forward(OperandPair<GroupedOperand> x, Tensor y, RowSchedule schedule) {
        multiply(x.byRows(), operands.forward(), y, schedule);
        return work -> x.byColumns();
    }

    private void multiply(GroupedOperand a, GroupedOperand w, Tensor c, RowSchedule schedule) {
        schedule.run(part -> {
            if (part == null) {
                backend.gemm().multiplyGrouped(a, w, c);
            } else {
                backend.gemm().multiplyGroupedPart(a, part, w, c);
            }
        });
    }

    /**
     * Whether rows of {@code type} can be multiplied in parts, of which some are not there yet: not where operands are
     * made of all of a group's rows.
     */
    boolean takesParts(DType type) {
        return precision().fpropX().keeps(type)
                && precision().wgradX().keeps(type)
                && precision().dgradDy().keeps(type)
                && precision().wgradDy().keeps(type);
    }

    /** Operands of the activation of {@code inner} as this layer's input; null where it has to be computed first. */
    @Nullable
    OperandPair<GroupedOperand> activatedInput(
            Pass pass, ExpertRows rows, Activation kind, Tensor inner, TensorScope work) {
        return !pass.training()
                ? null
                : backend.quantize()
                        .activatedPair(
                                kind,
                                inner,
                                rows.probability(),
                                rows.offsets(),
                                inputRows(pass, work),
                                inputColumns(pass),
                                split.input());
    }

    /** Operands of rows that are copies of tokens x [T, K] as this layer's input; null where the rows are needed. */
    @Nullable
    OperandPair<GroupedOperand> copiedInput(
            Pass pass, ExpertRows rows, @Nullable RowCopies copies, Tensor x, TensorScope work) {
        return !pass.training() || copies == null
                ? null
                : copies.operands(
                        backend.quantize(),
                        x,
                        rows.offsets(),
                        inputRows(pass, work),
                        inputColumns(pass),
                        split.input());
    }

    private OperandCopy inputRows(Pass pass, TensorScope work) {
        OperandSpec spec = precision().fpropX();
        return new OperandCopy(spec, null, pass.counts() ? formats.probe(pass.step(), "fprop.x", spec) : null, work);
    }

    private OperandCopy inputColumns(Pass pass) {
        OperandSpec spec = precision().wgradX();
        return new OperandCopy(spec, null, formats.probe(pass.step(), "wgrad.x", spec), pass.kept());
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
        backward(pass, rows, xByColumns, dy, dx, work, () -> {}, RowSchedule.WHOLE);
    }

    /**
     * The same.
     *
     * @param written runs when dx is written and before the weight gradients are
     * @param schedule in which order rows of dx are computed
     */
    void backward(
            Pass pass,
            ExpertRows rows,
            @Nullable OperandSource<GroupedOperand> xByColumns,
            Tensor dy,
            Tensor dx,
            TensorScope work,
            Runnable written,
            RowSchedule schedule) {
        StepContext step = pass.step();
        OperandPair<GroupedOperand> both = backend.quantize()
                .raggedPair(
                        dy,
                        rows.offsets(),
                        firstExpert,
                        outputCopy(step, rows, precision().dgradDy(), "dgrad.dy", work),
                        outputCopy(step, rows, precision().wgradDy(), "wgrad.dy", work),
                        split.output());
        backward(pass, both, xByColumns, dx, work, written, schedule);
    }

    /** Operands of the gradient of {@code inner}, whose activation has the gradient {@code dactivated}; null as above. */
    @Nullable
    OperandPair<GroupedOperand> activationGradient(
            Pass pass,
            ExpertRows rows,
            Activation kind,
            Tensor dactivated,
            Tensor inner,
            Tensor dprobability,
            TensorScope work) {
        return backend.quantize()
                .activationGradientPair(
                        kind,
                        dactivated,
                        inner,
                        rows.probability(),
                        dprobability,
                        rows.offsets(),
                        outputCopy(pass.step(), rows, precision().dgradDy(), "dgrad.dy", work),
                        outputCopy(pass.step(), rows, precision().wgradDy(), "wgrad.dy", work),
                        split.output());
    }

    /** Operands of rows that are copies of tokens dy [T, N] as the gradient of this layer's output; null as above. */
    @Nullable
    OperandPair<GroupedOperand> copiedGradient(
            Pass pass, ExpertRows rows, @Nullable RowCopies copies, Tensor dy, TensorScope work) {
        return copies == null
                ? null
                : copies.operands(
                        backend.quantize(),
                        dy,
                        rows.offsets(),
                        outputCopy(pass.step(), rows, precision().dgradDy(), "dgrad.dy", work),
                        outputCopy(pass.step(), rows, precision().wgradDy(), "wgrad.dy", work),
                        split.output());
    }

    private OperandCopy outputCopy(
            StepContext step, ExpertRows rows, OperandSpec spec, String operand, TensorScope work) {
        return new OperandCopy(
                spec,
                formats.random(step, spec, rows.rowIds(), split.outputGroups()),
                formats.probe(step, operand, spec),
                work);
    }

    /** The same for a gradient whose operands are there. */
    void backward(
            Pass pass,
            OperandPair<GroupedOperand> both,
            @Nullable OperandSource<GroupedOperand> xByColumns,
            Tensor dx,
            TensorScope work,
            Runnable written) {
        backward(pass, both, xByColumns, dx, work, written, RowSchedule.WHOLE);
    }

    private void backward(
            Pass pass,
            OperandPair<GroupedOperand> both,
            @Nullable OperandSource<GroupedOperand> xByColumns,
            Tensor dx,
            TensorScope work,
            Runnable written,
            RowSchedule schedule) {
        multiply(both.byRows(), operands.dgrad(), dx, schedule);
        written.run();
        GroupedOperand inputs = Objects.requireNonNull(xByColumns).operand(work);
        boolean overwrites = operands.takeFirstWrite();
        if (overwrites) {
            pass.memory().reclaim(weight);
        }
        backend.gemm()
                .multiplyGroupedDepth(
                        both.byColumns(),
                        inputs,
                        weight.grad(),
                        !overwrites,
                        overwrites ? squares.written(weight) : null);
    }

    private LinearPrecision precision() {
        return operands.precision();
    }
}
