package io.fourfold.model;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.tensor.Tensor;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/** Remembers the first non-finite value it is shown. Never throws, so that collective work goes on on every rank. */
final class NonFiniteInspector {
    private final Backend backend;
    private @Nullable NonFiniteReport first;

    NonFiniteInspector(Backend backend) {
        this.backend = backend;
    }

    void inspect(String stage, int layer, String name, Tensor tensor) {
        if (first != null || tensor.elements() == 0) {
            return;
        }
        float[] values = backend.download(tensor);
        for (int i = 0; i < values.length; i++) {
            if (!Float.isFinite(values[i])) {
                first = new NonFiniteReport(stage, layer, name, i, values[i]);
                return;
            }
        }
    }

    Optional<NonFiniteReport> first() {
        return Optional.ofNullable(first);
    }
}
