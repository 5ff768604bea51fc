package io.fourfold.bench;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import io.fourfold.model.Parameter;
import io.fourfold.model.ParameterStore;
import java.util.Random;

/**
 * Fills the parameters of a model that is only timed: normal numbers that repeat every million elements, written on the
 * device, because drawing billions of them on the host takes longer than the measurement.
 */
final class RandomParameters {
    private static final int PERIOD = (1 << 20) - 3;

    private RandomParameters() {}

    static void fill(Backend backend, ParameterStore store, double deviation, long seed) {
        try (TensorScope scope = backend.scope(Region.WORKSPACE)) {
            Random random = new Random(seed);
            float[] values = new float[PERIOD];
            for (int i = 0; i < PERIOD; i++) {
                values[i] = (float) (deviation * random.nextGaussian());
            }
            Tensor block = scope.allocate(DType.FP32, PERIOD);
            backend.upload(values, block);
            for (Parameter parameter : store.parameters()) {
                if (parameter.decay()) {
                    tile(backend, block, store, parameter);
                } else {
                    boolean norm = parameter.name().endsWith("norm");
                    backend.elementwise().fill(parameter.weight(), norm ? 1f : 0f); // no remainder
                }
            }
        }
    }

    private static void tile(Backend backend, Tensor block, ParameterStore store, Parameter parameter) {
        for (long at = 0; at < parameter.elements(); at += PERIOD) {
            Shape shape = Shape.of((int) Math.min(PERIOD, parameter.elements() - at));
            store.setWeights(backend, parameter, at, block.view(0, shape));
        }
    }
}
