package io.fourfold.model;

import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** Attention or a feed-forward network: what a block puts between a norm and the residual addition. */
interface Sublayer {
    /** The backward of one forward; holds what forward kept. */
    interface Backward {
        /**
         * Adds to the parameter gradients and writes dx.
         *
         * @param dy [T, H], unchanged
         * @param dx [T, H]
         */
        void run(Tensor dy, Tensor dx, TensorScope work);
    }

    /** Name in messages, for example {@code attention}. */
    String name();

    /** The weights of the linear layers, in the order in which backward writes their gradients. */
    List<Parameter> weights();

    /** Prepares the weights of every linear layer. */
    void prepare(WeightPreparation preparation);

    /** Where the input must be allocated so that it lives long enough. */
    TensorScope inputScope(Pass pass, TensorScope work);

    /**
     * Writes y [T, H].
     *
     * @param x [T, H], normalized
     * @return null in evaluation
     */
    @Nullable
    Backward forward(Pass pass, Tensor x, Tensor y, TensorScope work);
}
