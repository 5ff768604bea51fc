package io.fourfold.model;

import io.fourfold.kernels.op.OperandCopy;
import io.fourfold.kernels.op.OperandPair;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.precision.LinearPrecision;
import org.jspecify.annotations.Nullable;

/**
 * The operands that a linear layer's weight gives in forward and for dgrad, made once per optimizer step, and the formats of
 * that step.
 *
 * @param <T> operands of one matrix or of one for each expert
 */
final class WeightOperands<T> {
    /** How operands are made. */
    interface Maker<T> {
        OperandPair<T> ofCodes(WeightCodes.Coded coded, OperandCopy rows, OperandCopy columns);

        /**
         * @param amax of the source where it is known
         */
        OperandPair<T> pair(Tensor source, OperandCopy rows, OperandCopy columns, @Nullable Tensor amax);

        T one(Tensor source, boolean byColumns, OperandCopy copy);
    }

    private final LinearFormats formats;
    private final Parameter weight;
    private final Maker<T> maker;
    private @Nullable LinearPrecision precision;
    private FirstWrites firstWrites = new FirstWrites();
    private @Nullable T forward;
    private @Nullable T dgrad;

    WeightOperands(LinearFormats formats, Parameter weight, Maker<T> maker) {
        this.formats = formats;
        this.weight = weight;
        this.maker = maker;
    }

    /** From the codes where the weight was gathered as such, else from the master weight. */
    void prepare(WeightPreparation preparation) {
        LinearPrecision chosen = preparation.precision(formats);
        OperandCopy rows = formats.weightCopy(preparation, "fprop.w", chosen.fpropW());
        OperandCopy columns = formats.weightCopy(preparation, "dgrad.w", chosen.dgradW());
        WeightCodes.Coded coded = preparation.coded(weight, rows, columns);
        if (coded == null) {
            fromMaster(preparation, rows, columns);
        } else {
            take(maker.ofCodes(coded, rows, columns));
        }
        precision = chosen;
        preparation.made(forward, dgrad);
        firstWrites = preparation.overwriting(weight);
    }

    private void fromMaster(WeightPreparation preparation, OperandCopy rows, OperandCopy columns) {
        Tensor rounded = preparation.source(weight, rows.spec(), columns.spec());
        Tensor forwardSource = rows.spec().quantized() ? weight.weight() : rounded;
        Tensor dgradSource = columns.spec().quantized() ? weight.weight() : rounded;
        if (preparation.backward() && forwardSource == dgradSource) {
            take(maker.pair(forwardSource, rows, columns, preparation.amax(weight, forwardSource)));
        } else {
            forward = maker.one(forwardSource, false, rows);
            dgrad = preparation.backward() ? maker.one(dgradSource, true, columns) : null;
        }
    }

    private void take(OperandPair<T> both) {
        forward = both.byRows();
        dgrad = both.byColumns();
    }

    LinearPrecision precision() {
        return prepared(precision);
    }

    T forward() {
        return prepared(forward);
    }

    T dgrad() {
        return prepared(dgrad);
    }

    /** True once a step: the caller writes the weight gradient now, later ones add to it. */
    boolean takeFirstWrite() {
        return firstWrites.take(weight);
    }

    private <V> V prepared(@Nullable V value) {
        if (value == null) {
            throw new IllegalStateException("the weights of " + formats.name() + " are not prepared: call beginStep");
        }
        return value;
    }
}
