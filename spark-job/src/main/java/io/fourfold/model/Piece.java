package io.fourfold.model;

import java.util.Arrays;

/**
 * The part of one global tensor that a local parameter holds: a box in the global tensor and where its elements lie in
 * the local buffer. Checkpoints and Hugging Face conversion work on pieces, so they know nothing of fused or sharded
 * layouts.
 *
 * @param name canonical name of the global tensor, see {@link ParameterNames}
 * @param globalShape its shape
 * @param offset first index of the box in each dimension
 * @param extent size of the box in each dimension
 * @param localOffset element of the parameter at which the box starts
 * @param localStrides elements between neighbours in each dimension within the parameter; the last is 1
 */
public record Piece(
        String name, long[] globalShape, long[] offset, long[] extent, long localOffset, long[] localStrides) {
    public Piece {
        int rank = globalShape.length;
        if (offset.length != rank || extent.length != rank || localStrides.length != rank) {
            throw new IllegalArgumentException("piece " + name + ": ranks differ");
        }
        for (int i = 0; i < rank; i++) {
            if (offset[i] < 0 || offset[i] + extent[i] > globalShape[i]) {
                throw new IllegalArgumentException("piece " + name + " leaves its tensor: offset "
                        + Arrays.toString(offset) + " extent " + Arrays.toString(extent) + " shape "
                        + Arrays.toString(globalShape));
            }
        }
    }

    /** The whole tensor, contiguous from {@code localOffset}. */
    public static Piece whole(String name, long localOffset, long... shape) {
        return new Piece(name, shape, new long[shape.length], shape, localOffset, contiguousStrides(shape));
    }

    public static long[] contiguousStrides(long[] shape) {
        long[] strides = new long[shape.length];
        long stride = 1;
        for (int i = shape.length - 1; i >= 0; i--) {
            strides[i] = stride;
            stride *= shape[i];
        }
        return strides;
    }

    public long elements() {
        long n = 1;
        for (long e : extent) {
            n *= e;
        }
        return n;
    }

    /** True when every rank that holds any of this tensor holds all of it. */
    public boolean isWhole() {
        return Arrays.equals(extent, globalShape);
    }
}
