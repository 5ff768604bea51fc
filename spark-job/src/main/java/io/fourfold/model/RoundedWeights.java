package io.fourfold.model;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.EnumMap;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * BF16 copies of the master weights in flat buffers laid out like theirs: what BF16 products read. The optimizer writes
 * them in the pass that writes the masters; whatever else changes the masters, they are made anew.
 */
public final class RoundedWeights {
    private final Map<Parameter.Kind, Tensor> flat = new EnumMap<>(Parameter.Kind.class);
    private boolean written;

    /** Allocates the copy of one kind's buffer of masters. */
    void add(Parameter.Kind kind, Shape shape, TensorScope scope) {
        flat.put(kind, scope.zeros(DType.BF16, shape));
    }

    /** The copy of a kind's whole buffer; null where nothing reads one. */
    public @Nullable Tensor flat(Parameter.Kind kind) {
        return flat.get(kind);
    }

    /** The copy of a parameter, with its shape; null where there is none. */
    @Nullable
    Tensor of(Parameter parameter) {
        Tensor buffer = flat.get(parameter.kind());
        return buffer == null
                ? null
                : buffer.view(parameter.offset(), parameter.weight().shape());
    }

    /** The optimizer has written all copies together with the masters. */
    public void markWritten() {
        written = true;
    }

    /** The masters have changed otherwise. */
    void markStale() {
        written = false;
    }

    /**
     * Rounds all masters again unless the optimizer has written the copies since the last training step was prepared.
     *
     * @param trainingStep a step follows, after which the copies hold only if the optimizer writes them
     */
    void refresh(Backend backend, ParameterStore store, boolean trainingStep) {
        if (!written) {
            flat.keySet().forEach(kind -> round(backend, store, kind));
        }
        written = !trainingStep;
    }

    /** Rounds the masters of one kind. */
    public void round(Backend backend, ParameterStore store, Parameter.Kind kind) {
        Tensor masters = store.flatWeights(kind);
        if (masters.elements() > 0) {
            backend.elementwise().copy(masters, Objects.requireNonNull(flat.get(kind)));
        }
    }
}
