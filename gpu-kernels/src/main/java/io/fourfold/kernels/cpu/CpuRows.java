package io.fourfold.kernels.cpu;

import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/** Moves token rows to expert order and back: a gather, and a sum over the choices of each token. */
final class CpuRows {
    private CpuRows() {}

    static void gather(Tensor x, Tensor index, int divisor, Tensor out) {
        CpuTensor from = CpuTensor.of(x);
        CpuTensor to = CpuTensor.of(out);
        Arguments.require(from.dtype() == to.dtype(), "gathering rows of " + from + " into " + to);
        int rows = Math.toIntExact(index.elements());
        CpuTensor which = Arguments.int32(index, "index", rows);
        int width = from.shape().cols();
        Arguments.require(
                to.elements() == (long) rows * width, "gathering " + rows + " rows of " + from + " into " + to);
        int sources = from.shape().rows();
        for (int r = 0; r < rows; r++) {
            int i = which.ints()[which.offset() + r];
            int source = i < 0 ? -1 : i / divisor;
            Arguments.require(i >= -1 && source < sources, "row index " + i + " outside " + from);
            copyOrZero(from, source, to, r, width);
        }
    }

    static void spread(Tensor x, @Nullable Tensor index, int divisor, Tensor rowOfSlot, int k, Tensor out) {
        CpuTensor from = CpuTensor.of(x);
        CpuTensor to = CpuTensor.of(out);
        Arguments.require(from.dtype() == to.dtype(), "spreading rows of " + from + " into " + to);
        int tokens = index == null ? from.shape().rows() : Math.toIntExact(index.elements());
        int width = from.shape().cols();
        CpuTensor which = index == null ? null : Arguments.int32(index, "index", tokens);
        CpuTensor rows = Arguments.int32(rowOfSlot, "rowOfSlot", (long) tokens * k);
        for (int slot = 0; slot < rows.size(); slot++) {
            int row = rows.ints()[rows.offset() + slot];
            if (row >= 0) {
                Arguments.require((row + 1L) * width <= to.elements(), "row " + row + " outside " + to);
                int source = which == null ? slot / k : which.ints()[which.offset() + slot / k] / divisor;
                copyOrZero(from, source, to, row, width);
            }
        }
    }

    private static void copyOrZero(CpuTensor from, int source, CpuTensor to, int row, int width) {
        int start = to.offset() + row * width;
        if (from.dtype() == DType.INT32) {
            if (source < 0) {
                Arrays.fill(to.ints(), start, start + width, 0);
            } else {
                System.arraycopy(from.ints(), from.offset() + source * width, to.ints(), start, width);
            }
        } else if (source < 0) {
            Arrays.fill(to.floats(), start, start + width, 0f);
        } else {
            System.arraycopy(from.floats(), from.offset() + source * width, to.floats(), start, width);
        }
    }

    static void sum(Tensor y, Tensor rowOfSlot, int k, Tensor out) {
        CpuTensor from = CpuTensor.of(y);
        CpuTensor to = CpuTensor.of(out);
        int width = to.shape().cols();
        int tokens = to.shape().rows();
        CpuTensor rows = Arguments.int32(rowOfSlot, "rowOfSlot", (long) tokens * k);
        Arguments.require(from.elements() % Math.max(1, width) == 0, "summing rows of " + from + " into " + to);
        int sources = width == 0 ? 0 : from.size() / width;
        float[] x = from.floats();
        float[] z = to.floats();
        for (int t = 0; t < tokens; t++) {
            int at = to.offset() + t * width;
            Arrays.fill(z, at, at + width, 0f);
            for (int j = 0; j < k; j++) {
                int row = rows.ints()[rows.offset() + t * k + j];
                if (row >= 0) {
                    Arguments.require(row < sources, "row " + row + " outside " + from);
                    addRow(x, from.offset() + row * width, z, at, width);
                }
            }
            Bf16Rounding.roundIfNeeded(to, at, width);
        }
    }

    static void sumWithOwn(Tensor y, Tensor rowOfSlot, int from, Tensor own, Tensor rowOfOwnSlot, int k, Tensor out) {
        CpuTensor others = CpuTensor.of(y);
        CpuTensor mine = CpuTensor.of(own);
        CpuTensor to = CpuTensor.of(out);
        int width = to.shape().cols();
        int tokens = to.shape().rows();
        CpuTensor rows = Arguments.int32(rowOfSlot, "rowOfSlot", (long) tokens * k);
        CpuTensor ownRows = Arguments.int32(rowOfOwnSlot, "rowOfOwnSlot", rowOfOwnSlot.elements());
        int count = ownRows.size() / k;
        for (int t = 0; t < tokens; t++) {
            int at = to.offset() + t * width;
            Arrays.fill(to.floats(), at, at + width, 0f);
            for (int j = 0; j < k; j++) {
                int row = rows.ints()[rows.offset() + t * k + j];
                if (row < from || row >= from + count) {
                    addRow(others, row, to.floats(), at, width);
                    continue;
                }
                for (int i = 0; i < k; i++) {
                    addRow(mine, ownRows.ints()[ownRows.offset() + (row - from) * k + i], to.floats(), at, width);
                }
            }
            Bf16Rounding.roundIfNeeded(to, at, width);
        }
    }

    /** Row -1 is none. */
    private static void addRow(CpuTensor from, int row, float[] to, int at, int width) {
        if (row >= 0) {
            Arguments.require((row + 1L) * width <= from.elements(), "row " + row + " outside " + from);
            addRow(from.floats(), from.offset() + row * width, to, at, width);
        }
    }

    private static void addRow(float[] x, int xo, float[] z, int zo, int width) {
        for (int c = 0; c < width; c++) {
            z[zo + c] += x[xo + c];
        }
    }
}
