package io.fourfold.kernels.cpu;

import io.fourfold.kernels.tensor.Tensor;

/** Rows of a table by token: out[t, :] = table[tokens[t], :], and the sum of the gradients of each row. */
final class CpuEmbedding {
    private CpuEmbedding() {}

    static void forward(Tensor tokens, Tensor table, Tensor out) {
        CpuTensor from = CpuTensor.of(table);
        int count = Math.toIntExact(tokens.elements());
        int width = from.shape().cols();
        CpuTensor ids = Arguments.int32(tokens, "tokens", count);
        CpuTensor to = Arguments.floats(out, "out", (long) count * width);
        for (int t = 0; t < count; t++) {
            int row = token(ids, t, from.shape().rows());
            System.arraycopy(from.floats(), from.offset() + row * width, to.floats(), to.offset() + t * width, width);
        }
        Bf16Rounding.roundIfNeeded(to, to.offset(), to.size());
    }

    static void backward(Tensor tokens, Tensor dout, Tensor dtable) {
        CpuTensor to = CpuTensor.of(dtable);
        int count = Math.toIntExact(tokens.elements());
        int width = to.shape().cols();
        CpuTensor ids = Arguments.int32(tokens, "tokens", count);
        CpuTensor from = Arguments.floats(dout, "dout", (long) count * width);
        float[] gradient = from.floats();
        float[] sums = to.floats();
        for (int t = 0; t < count; t++) {
            int x = from.offset() + t * width;
            int z = to.offset() + token(ids, t, to.shape().rows()) * width;
            for (int c = 0; c < width; c++) {
                sums[z + c] += gradient[x + c];
            }
            Bf16Rounding.roundIfNeeded(to, z, width);
        }
    }

    private static int token(CpuTensor ids, int position, int vocabulary) {
        int token = ids.ints()[ids.offset() + position];
        if (token < 0 || token >= vocabulary) {
            throw new IllegalArgumentException(
                    "token " + token + " at position " + position + " is outside the vocabulary of " + vocabulary
                            + "; do the shards belong to this model's tokenizer?");
        }
        return token;
    }
}
