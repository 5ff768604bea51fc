package io.fourfold.checkpoint;

import java.util.SortedSet;

/**
 * The model as global tensors under their canonical names ({@link io.fourfold.model.ParameterNames}), whatever layout
 * they are stored in. Checkpoints and Hugging Face folders are sources; loading a rank and exporting read boxes from them.
 */
public interface GlobalTensorSource extends AutoCloseable {
    /** Canonical names, sorted. */
    SortedSet<String> names();

    /** Global shape; throws {@link CheckpointException} when there is no such tensor. */
    long[] shape(String name);

    /**
     * Reads a box in row-major order.
     *
     * @param offset first index in each dimension
     * @param extent size in each dimension; the product must be below 2^31
     */
    float[] read(String name, long[] offset, long[] extent);

    /** Reads a whole tensor. */
    default float[] readWhole(String name) {
        long[] shape = shape(name);
        return read(name, new long[shape.length], shape);
    }

    @Override
    void close();
}
