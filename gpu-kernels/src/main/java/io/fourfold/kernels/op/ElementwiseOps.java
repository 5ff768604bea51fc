package io.fourfold.kernels.op;

import io.fourfold.kernels.tensor.Tensor;

/**
 * Element-wise work, embedding and rotary positions. Every operation computes in FP32 and rounds once, to nearest even,
 * when it writes a BF16 tensor. Outputs may alias inputs of the same shape unless stated.
 */
public interface ElementwiseOps {
    void fill(Tensor out, float value);

    /** Copies with conversion: FP32 and BF16 into each other, INT32 into FP32 or INT32. */
    void copy(Tensor in, Tensor out);

    /**
     * out[:, to .. to + count) = in[:, from .. from + count), without conversion.
     *
     * @param in [T, C]
     * @param out [T, D]; the other columns stay untouched
     */
    default void copyColumns(Tensor in, int from, Tensor out, int to, int count) {
        throw new UnsupportedOperationException("this backend cannot copy columns yet");
    }

    /** out = a + b. */
    void add(Tensor a, Tensor b, Tensor out);

    /** out += factor * a. */
    void addScaled(Tensor a, float factor, Tensor out);

    /** out[t, :] += bias, for out [T, C] and bias [C]. */
    void addBias(Tensor bias, Tensor out);

    /** dbias[c] += sum over t of dy[t, c]; rows are summed in ascending order in FP32. */
    void biasBackward(Tensor dy, Tensor dbias);

    /** out[t, :] = table[tokens[t], :]; tokens INT32 [T], table [V, H], out [T, H]. */
    void embedding(Tensor tokens, Tensor table, Tensor out);

    /** dtable[tokens[t], :] += dout[t, :], rows in ascending t. */
    void embeddingBackward(Tensor tokens, Tensor dout, Tensor dtable);

    /**
     * Rotates pairs (i, i + d/2) of the query and key heads in place (the Hugging Face "rotate half" layout).
     *
     * @param qkv [T, (heads + 2 * kvHeads) * headDim]: queries, keys, values; values stay untouched
     * @param positions INT32 [T]
     * @param inverse true rotates backwards: the gradient of the forward rotation
     */
    void rope(Tensor qkv, int heads, int kvHeads, int headDim, Tensor positions, double theta, boolean inverse);

    /** out += sigmoid(gate[t]) * y[t, :]; gate FP32 [T], y and out [T, H] (gated shared expert). */
    void addGated(Tensor gate, Tensor y, Tensor out);

    /** dy[t, :] = sigmoid(g) * dout[t, :] and dgate[t] = sigmoid'(g) * dot(dout[t, :], y[t, :]); FP32 gate and dgate. */
    void addGatedBackward(Tensor gate, Tensor y, Tensor dout, Tensor dy, Tensor dgate);
}
