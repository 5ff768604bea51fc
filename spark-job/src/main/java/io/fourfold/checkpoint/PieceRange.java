package io.fourfold.checkpoint;

import java.util.ArrayList;
import java.util.List;

/**
 * A run of consecutive elements of a box within a global tensor: elements {@code [from, to)} of the box in row-major
 * order. It is what the cut of a flat buffer leaves of a piece, and the unit in which checkpoints are stored, so that any
 * other cut can be read back from it.
 *
 * @param tensor canonical name
 * @param offset first index of the box in each dimension
 * @param extent size of the box in each dimension
 * @param from first element within the box
 * @param to one past the last element
 */
public record PieceRange(String tensor, long[] offset, long[] extent, long from, long to) {
    public PieceRange {
        if (from < 0 || to <= from || to > Box.elements(extent)) {
            throw new IllegalArgumentException(
                    "elements " + from + " to " + to + " of a box of " + Box.elements(extent) + " in " + tensor);
        }
    }

    public long elements() {
        return to - from;
    }

    /** The range as disjoint boxes of the global tensor in row-major order, at most 2 * rank - 1 of them. */
    public List<Box> boxes() {
        List<Box> boxes = new ArrayList<>();
        collect(0, offset.clone(), from, to, boxes);
        return boxes;
    }

    /** Splits [first, last) of the sub-box that fixes the dimensions before {@code dim} at {@code at}. */
    private void collect(int dim, long[] at, long first, long last, List<Box> boxes) {
        if (first >= last) {
            return;
        }
        int rank = extent.length;
        if (dim >= rank - 1) {
            addBox(dim, at, first, last, boxes);
            return;
        }
        long inner = 1;
        for (int i = dim + 1; i < rank; i++) {
            inner *= extent[i];
        }
        long row = first / inner;
        long lastRow = last / inner;
        if (first % inner != 0) {
            long end = Math.min(last, (row + 1) * inner);
            collect(dim + 1, with(at, dim, row), first - row * inner, end - row * inner, boxes);
            row++;
        }
        if (row < lastRow) {
            addBox(dim, at, row, lastRow, boxes);
        }
        if (lastRow >= row && last % inner != 0) {
            collect(dim + 1, with(at, dim, lastRow), 0, last - lastRow * inner, boxes);
        }
    }

    private void addBox(int dim, long[] at, long first, long last, List<Box> boxes) {
        int rank = extent.length;
        long[] start = at.clone();
        long[] size = new long[rank];
        for (int i = 0; i < rank; i++) {
            size[i] = i < dim ? 1 : extent[i];
        }
        if (rank > 0) {
            start[dim] = offset[dim] + first;
            size[dim] = last - first;
        }
        boxes.add(new Box(start, size));
    }

    private long[] with(long[] at, int dim, long index) {
        long[] next = at.clone();
        next[dim] = offset[dim] + index;
        return next;
    }
}
