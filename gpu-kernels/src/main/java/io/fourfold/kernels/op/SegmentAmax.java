package io.fourfold.kernels.op;

import io.fourfold.kernels.tensor.Tensor;

/**
 * Where an operation puts the largest magnitude of each segment of the flat vector it writes.
 *
 * @param starts ascending, from 0 to the vector's length, one more than there are segments; segment i is elements {@code starts[i] ..
 *     starts[i + 1]}. The same array every time, unchanged
 * @param amax FP32, one element a segment: raised where it is lower, so zero it first. Infinite for a segment with NaN
 */
public record SegmentAmax(long[] starts, Tensor amax) {
    public SegmentAmax {
        if (starts.length != amax.elements() + 1 || starts[0] != 0) {
            throw new IllegalArgumentException(starts.length + " starts from " + starts[0] + " for " + amax);
        }
    }
}
