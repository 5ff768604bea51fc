package io.fourfold.bench.operations;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;

/**
 * Collects sampled results beside their reference. The error is {@code |got - want| / |want|} in the L2 norm over one set of
 * samples, the largest of all sets.
 */
final class ErrorCheck {
    private double largest;
    private double difference;
    private double magnitude;

    void add(double got, double want) {
        difference += (got - want) * (got - want);
        magnitude += want * want;
    }

    void add(float[] got, double[] want) {
        for (int i = 0; i < want.length; i++) {
            add(got[i], want[i]);
        }
    }

    /** Ends a set of samples. */
    void endSet() {
        double error = difference == 0 ? 0 : Math.sqrt(difference / magnitude);
        // Math.max keeps NaN, so one unwritten sample fails the whole check.
        largest = Math.max(largest, error);
        difference = 0;
        magnitude = 0;
    }

    double error() {
        endSet();
        return largest;
    }

    static float element(Backend backend, Tensor tensor, long index) {
        return backend.download(tensor.view(index, Shape.of(1)))[0];
    }
}
