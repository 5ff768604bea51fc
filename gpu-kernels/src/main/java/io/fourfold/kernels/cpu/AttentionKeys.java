package io.fourfold.kernels.cpu;

import io.fourfold.kernels.cpu.Sgemm.Matrix;

/** Keys and values of one sequence and key head as dense matrices [keys, headDim], with their gradients. */
final class AttentionKeys implements AutoCloseable {
    private final NativeFloats keys = new NativeFloats();
    private final NativeFloats values = new NativeFloats();
    private final NativeFloats keyGradients = new NativeFloats();
    private final NativeFloats valueGradients = new NativeFloats();

    void load(AttentionLayout layout, int batch, int kvHead) {
        copyIn(layout, layout.keyValues(), batch, kvHead, keys, values);
    }

    /** The gradients before this call: zeros, or what is there. */
    void beginGradients(AttentionLayout layout, int batch, int kvHead, CpuTensor gradient, boolean adding) {
        if (adding) {
            copyIn(layout, gradient, batch, kvHead, keyGradients, valueGradients);
            return;
        }
        int floats = floats(layout);
        keyGradients.reserve(Math.max(1, floats));
        valueGradients.reserve(Math.max(1, floats));
        keyGradients.zero(0, floats);
        valueGradients.zero(0, floats);
    }

    void storeGradients(AttentionLayout layout, int batch, int kvHead, CpuTensor gradient) {
        int rows = layout.keyRows();
        int dim = layout.shape().headDim();
        int width = layout.keyWidth();
        int shift = gradient.offset() - layout.keyValues().offset();
        keyGradients.getMatrix(0, gradient.floats(), layout.keyAt(batch, kvHead) + shift, width, rows, dim);
        valueGradients.getMatrix(0, gradient.floats(), layout.valueAt(batch, kvHead) + shift, width, rows, dim);
    }

    private static void copyIn(
            AttentionLayout layout,
            CpuTensor source,
            int batch,
            int kvHead,
            NativeFloats keyPart,
            NativeFloats valuePart) {
        int rows = layout.keyRows();
        int dim = layout.shape().headDim();
        int width = layout.keyWidth();
        int shift = source.offset() - layout.keyValues().offset();
        keyPart.reserve(Math.max(1, floats(layout)));
        valuePart.reserve(Math.max(1, floats(layout)));
        keyPart.putMatrix(0, source.floats(), layout.keyAt(batch, kvHead) + shift, width, rows, dim);
        valuePart.putMatrix(0, source.floats(), layout.valueAt(batch, kvHead) + shift, width, rows, dim);
    }

    private static int floats(AttentionLayout layout) {
        return layout.keyRows() * layout.shape().headDim();
    }

    /** From the first key of a block on; likewise the others. */
    Matrix keys(AttentionLayout layout, AttentionLayout.Block block) {
        return from(keys, layout, block);
    }

    Matrix values(AttentionLayout layout, AttentionLayout.Block block) {
        return from(values, layout, block);
    }

    Matrix keyGradients(AttentionLayout layout, AttentionLayout.Block block) {
        return from(keyGradients, layout, block);
    }

    Matrix valueGradients(AttentionLayout layout, AttentionLayout.Block block) {
        return from(valueGradients, layout, block);
    }

    private static Matrix from(NativeFloats floats, AttentionLayout layout, AttentionLayout.Block block) {
        int dim = layout.shape().headDim();
        return new Matrix(floats, block.firstKey() * dim, dim);
    }

    @Override
    public void close() {
        keys.close();
        values.close();
        keyGradients.close();
        valueGradients.close();
    }
}
