package io.fourfold.moe;

import io.fourfold.kernels.tensor.Tensor;

/** Rows on their way back, of which a part may not be computed yet. */
@FunctionalInterface
public interface SplitSum {
    /**
     * Adds the rows of each token; every row is computed by now.
     *
     * @param out [T, C], written
     */
    void finish(Tensor out);
}
