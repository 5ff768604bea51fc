package io.fourfold.model;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** The expert that every token passes through, optionally weighted by sigmoid(x . w) in FP32. */
final class SharedExpert {
    private final Backend backend;
    private final DenseFfn ffn;
    private final @Nullable Linear gate;

    /**
     * @param gate [1, H] in FP32, or null
     */
    SharedExpert(Backend backend, DenseFfn ffn, @Nullable Linear gate) {
        this.backend = backend;
        this.ffn = ffn;
        this.gate = gate;
    }

    /** As {@link Sublayer#weights()}. */
    List<Parameter> weights() {
        List<Parameter> weights = new ArrayList<>(ffn.weights());
        if (gate != null) {
            weights.add(gate.weight());
        }
        return weights;
    }

    void prepare(WeightPreparation preparation) {
        ffn.prepare(preparation);
        if (gate != null) {
            gate.prepare(preparation);
        }
    }

    /** The expert's output, not added to anything yet. */
    interface Output {
        /**
         * out += the output.
         *
         * @param out [T, H]
         * @return null in evaluation
         */
        @Nullable
        Backward addTo(Tensor out);
    }

    /** The backward of one forward; holds what forward kept. */
    interface Backward {
        /**
         * Computes the gradient of the input and adds to those of the parameters.
         *
         * @param dy [T, H], unchanged
         * @param work stays open until the gradient is added
         */
        InputGradient run(Tensor dy, TensorScope work);
    }

    /** The gradient of the expert's input, not added to anything yet. */
    interface InputGradient {
        /**
         * dx += the gradient.
         *
         * @param dx [T, H]
         */
        void addTo(Tensor dx);
    }

    /**
     * Computes the output.
     *
     * @param x [T, H], kept by the caller
     * @param work stays open until the output is added
     */
    Output forward(Pass pass, Tensor x, TensorScope work) {
        if (gate == null) {
            Tensor y = work.allocate(pass.type(), x.shape());
            Sublayer.Backward inner = ffn.forward(pass, x, y, work);
            return out -> {
                backend.elementwise().add(out, y, out);
                return inner == null ? null : (dy, backwardWork) -> gradient(pass, inner, dy, backwardWork);
            };
        }
        TensorScope scope = pass.training() ? pass.kept() : work;
        Tensor gateLogits = scope.allocate(DType.FP32, pass.tokens());
        OperandSource<GemmOperand> gateX = gate.forward(
                pass,
                x,
                gateLogits.reshape(pass.tokens(), 1),
                work,
                pass.recompute().input());
        Tensor y = scope.allocate(pass.type(), x.shape());
        Sublayer.Backward inner = ffn.forward(pass, x, y, work);
        return out -> {
            backend.elementwise().addGated(gateLogits, y, out);
            return inner == null
                    ? null
                    : (dout, backwardWork) ->
                            gatedBackward(pass, gate, gateLogits, gateX, y, inner, dout, backwardWork);
        };
    }

    private InputGradient gradient(Pass pass, Sublayer.Backward inner, Tensor dy, TensorScope work) {
        Tensor part = work.allocate(pass.type(), dy.shape());
        inner.run(dy, part, work);
        return dx -> backend.elementwise().add(dx, part, dx);
    }

    private InputGradient gatedBackward(
            Pass pass,
            Linear gateLinear,
            Tensor gateLogits,
            @Nullable OperandSource<GemmOperand> gateX,
            Tensor y,
            Sublayer.Backward inner,
            Tensor dout,
            TensorScope work) {
        Tensor dy = work.allocate(pass.type(), dout.shape());
        Tensor dgate = work.allocate(DType.FP32, pass.tokens());
        backend.elementwise().addGatedBackward(gateLogits, y, dout, dy, dgate);
        InputGradient ungated = gradient(pass, inner, dy, work);
        return dx -> {
            ungated.addTo(dx);
            gateLinear.backward(pass, gateX, dgate.reshape(pass.tokens(), 1), dx, true, work);
        };
    }
}
