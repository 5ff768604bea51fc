package io.fourfold.model;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.Pending;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.OperandCopy;
import io.fourfold.kernels.op.OperandPair;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.QuantProbe;
import io.fourfold.kernels.tensor.DType;
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
    private final LinearSplit split;
    private final SplitProduct splitProduct;
    private final WeightOperands<GemmOperand> operands;

    /**
     * @param weight [N, K], this rank's part
     * @param bias [N] or null
     */
    Linear(Backend backend, LinearFormats formats, Parameter weight, @Nullable Parameter bias, LinearSplit split) {
        this.backend = backend;
        this.formats = formats;
        this.weight = weight;
        this.bias = bias;
        this.split = split;
        splitProduct = new SplitProduct(backend.gemm(), split.ranks().tensor());
        operands = new WeightOperands<>(formats, weight, maker());
    }

    String name() {
        return formats.name();
    }

    Parameter weight() {
        return weight;
    }

    /** Makes the weight operands; once per optimizer step. */
    void prepare(WeightPreparation preparation) {
        operands.prepare(preparation);
    }

    private WeightOperands.Maker<GemmOperand> maker() {
        return new WeightOperands.Maker<>() {
            @Override
            public OperandPair<GemmOperand> ofCodes(WeightCodes.Coded coded, OperandCopy rows, OperandCopy columns) {
                return backend.weightCodes()
                        .operands(coded.words(), coded.rows(), coded.cols(), coded.amax(), rows, columns);
            }

            @Override
            public OperandPair<GemmOperand> pair(
                    Tensor source, OperandCopy rows, OperandCopy columns, @Nullable Tensor amax) {
                return backend.quantize()
                        .weightPair(source, rows, columns, split.operands().weight(), amax);
            }

            @Override
            public GemmOperand one(Tensor source, boolean byColumns, OperandCopy copy) {
                return backend.quantize()
                        .operand(
                                source,
                                byColumns,
                                copy.spec(),
                                null,
                                copy.probe(),
                                split.operands().weight(),
                                copy.scope());
            }
        };
    }

    /** Where this layer's input must be allocated: kept when backward reads it through a shared operand. */
    TensorScope inputScope(Pass pass, TensorScope work) {
        return split.gathersInput() ? work : operandScope(pass, work);
    }

    private TensorScope operandScope(Pass pass, TensorScope work) {
        return !pass.training() || precision().wgradX().quantized() ? work : pass.kept();
    }

    /**
     * Writes y. Rows are the context rank's, but for the input of a layer that gathers it and the output of one that sums
     * it, which are this rank's.
     *
     * @return the wgrad operand of x, null in evaluation
     */
    @Nullable
    OperandSource<GemmOperand> forward(Pass pass, Tensor x, Tensor y, TensorScope work) {
        return forward(pass, x, y, work, null);
    }

    /**
     * The same for an input that may not be kept.
     *
     * @param again makes x once more; null when backward may read x where it is, or what its operand keeps of it
     */
    @Nullable
    OperandSource<GemmOperand> forward(Pass pass, Tensor x, Tensor y, TensorScope work, @Nullable InputAgain again) {
        return forward(pass, x, y, work, again, () -> {});
    }

    /**
     * Whether rows of {@code type} are multiplied in parts while others travel between ranks: not where operands are made of
     * all rows.
     */
    boolean takesParts(DType type) {
        return split.exchanges()
                && precision().fpropX().keeps(type)
                && precision().dgradDy().keeps(type);
    }

    /**
     * The same.
     *
     * @param meanwhile runs while rows travel, only where {@link #takesParts}. A layer that gathers its input has written this
     *     rank's rows of y by then; one that sums its output has not read this rank's rows of x yet
     */
    @Nullable
    OperandSource<GemmOperand> forward(
            Pass pass, Tensor x, Tensor y, TensorScope work, @Nullable InputAgain again, Runnable meanwhile) {
        StepContext step = pass.step();
        TensorScope scope = again == null ? operandScope(pass, work) : work;
        Tensor input = split.gathersInput() ? split.ranks().all(x, scope) : x;
        Tensor output = split.sumsOutput() ? work.allocate(y.dtype(), input.dim(0), y.dim(1)) : y;
        boolean inParts = takesParts(x.dtype());
        if (inParts && split.gathersInput()) {
            splitProduct.gathering(x, input, operands.forward(), output, () -> {
                addBias(splitProduct.ownRows(y));
                meanwhile.run();
            });
            splitProduct.otherRows(y).forEach(this::addBias);
        } else if (inParts) {
            splitProduct.summing(input, operands.forward(), output, y, meanwhile);
            addBias(y);
        } else if (split.gathersInput()) {
            split.ranks().gather(x, input);
        }
        OperandPair<GemmOperand> both = pass.training() && again == null ? inputPair(pass, input, work) : null;
        if (!inParts) {
            GemmOperand rows = both != null
                    ? both.byRows()
                    : inputOperand(input, false, precision().fpropX(), "fprop.x", step, pass.counts(), work);
            backend.gemm().multiply(rows, operands.forward(), output, false);
            if (split.sumsOutput()) {
                split.ranks().scatterSum(output, y);
            }
            addBias(y);
        }
        if (!pass.training()) {
            return null;
        }
        if (again != null) {
            return backwardWork -> {
                Tensor same = again.compute(backwardWork);
                Tensor whole = split.gathersInput() ? split.ranks().gather(same, backwardWork) : same;
                return byColumns(whole, step, backwardWork);
            };
        }
        GemmOperand columns = Objects.requireNonNull(both).byColumns();
        return backwardWork -> columns;
    }

    private void addBias(Tensor y) {
        if (bias != null) {
            backend.elementwise().addBias(bias.weight(), y);
        }
    }

    private OperandPair<GemmOperand> inputPair(Pass pass, Tensor x, TensorScope work) {
        OperandSpec fprop = precision().fpropX();
        OperandSpec wgrad = precision().wgradX();
        QuantProbe fpropProbe =
                pass.counts() && split.countsInput() ? formats.probe(pass.step(), "fprop.x", fprop) : null;
        QuantProbe wgradProbe = split.countsInput() ? formats.probe(pass.step(), "wgrad.x", wgrad) : null;
        return backend.quantize()
                .operandPair(
                        x,
                        new OperandCopy(fprop, null, fpropProbe, work),
                        new OperandCopy(wgrad, null, wgradProbe, pass.kept()),
                        split.operands().input());
    }

    private GemmOperand byColumns(Tensor x, StepContext step, TensorScope scope) {
        return inputOperand(x, true, precision().wgradX(), "wgrad.x", step, true, scope);
    }

    private GemmOperand inputOperand(
            Tensor x,
            boolean byColumns,
            OperandSpec spec,
            String operand,
            StepContext step,
            boolean counts,
            TensorScope scope) {
        QuantProbe probe = counts && split.countsInput() ? formats.probe(step, operand, spec) : null;
        return backend.quantize()
                .operand(x, byColumns, spec, null, probe, split.operands().input(), scope);
    }

    /**
     * Adds to the weight and bias gradients and writes or adds to dx.
     *
     * @param xByColumns what forward returned
     * @param accumulate true: dx += gradient; not for a layer that gathers its input
     */
    void backward(
            Pass pass,
            @Nullable OperandSource<GemmOperand> xByColumns,
            Tensor dy,
            Tensor dx,
            boolean accumulate,
            TensorScope work) {
        startBackward(pass, xByColumns, dy, dx, accumulate, work).run();
    }

    /**
     * The same in two parts. On return dx is written or, where the layer gathers its input, its sum over the ranks is under
     * way. What is returned computes the gradients of weight and bias, meanwhile or beside another exchange, and ends that
     * sum. Where the layer's rows do not travel, all is done on return.
     *
     * @param work stays open until the second part has run
     */
    Runnable startBackward(
            Pass pass,
            @Nullable OperandSource<GemmOperand> xByColumns,
            Tensor dy,
            Tensor dx,
            boolean accumulate,
            TensorScope work) {
        if (accumulate && split.gathersInput()) {
            throw new IllegalArgumentException("the input gradient of " + name() + " is a sum over ranks");
        }
        Tensor doutput = split.sumsOutput() ? split.ranks().all(dy, work) : dy;
        Tensor dinput = split.gathersInput() ? work.allocate(dx.dtype(), doutput.dim(0), dx.dim(1)) : dx;
        boolean inParts = split.sumsOutput() && !accumulate && takesParts(dy.dtype());
        if (inParts) {
            splitProduct.gathering(dy, doutput, operands.dgrad(), dinput, () -> {});
        } else if (split.sumsOutput()) {
            split.ranks().gather(dy, doutput);
        }
        OperandPair<GemmOperand> both = backend.quantize()
                .operandPair(
                        doutput,
                        outputCopy(pass, precision().dgradDy(), "dgrad.dy", work),
                        outputCopy(pass, precision().wgradDy(), "wgrad.dy", work),
                        split.operands().output());
        if (!inParts) {
            backend.gemm().multiply(both.byRows(), operands.dgrad(), dinput, accumulate);
        }
        Pending sum = split.gathersInput() ? split.ranks().startSum(dinput, dx) : Pending.DONE;
        Runnable rest = () -> {
            addWeightGradients(pass, xByColumns, both.byColumns(), doutput, work);
            sum.await();
        };
        if (split.exchanges()) {
            return rest;
        }
        rest.run();
        return () -> {};
    }

    private void addWeightGradients(
            Pass pass,
            @Nullable OperandSource<GemmOperand> xByColumns,
            GemmOperand doutputs,
            Tensor doutput,
            TensorScope work) {
        GemmOperand inputs = Objects.requireNonNull(xByColumns).operand(work);
        boolean overwrites = operands.takeFirstWrite();
        if (overwrites) {
            pass.memory().reclaim(weight);
        }
        backend.gemm().multiply(doutputs, inputs, weight.grad(), !overwrites);
        if (bias != null) {
            backend.elementwise().biasBackward(doutput, bias.grad());
        }
    }

    private OperandCopy outputCopy(Pass pass, OperandSpec spec, String operand, TensorScope work) {
        Tensor rowIds = pass.batch().contextRowIds();
        return new OperandCopy(
                spec,
                formats.random(pass.step(), spec, rowIds, split.operands().outputGroups()),
                split.countsOutput() ? formats.probe(pass.step(), operand, spec) : null,
                work);
    }

    private LinearPrecision precision() {
        return operands.precision();
    }
}
