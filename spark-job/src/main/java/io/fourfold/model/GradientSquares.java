package io.fourfold.model;

import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * Squared norms of expert gradients, taken by the products that write them so that the gradients need not be read once
 * more. That is right where one micro-batch writes a step's whole gradient and no other rank adds to it; otherwise nothing
 * is kept here, and the gradients are read.
 */
public final class GradientSquares {
    private final Map<String, Tensor> sums = new LinkedHashMap<>();
    private final Set<String> written = new HashSet<>();
    private final @Nullable Tensor all;
    private boolean wanted;

    /**
     * @param all FP32, one element for each group of each parameter; null when there are none
     * @param groups groups of each parameter, by name, in the order of the elements
     */
    GradientSquares(@Nullable Tensor all, Map<String, Integer> groups) {
        this.all = all;
        int at = 0;
        for (Map.Entry<String, Integer> entry : groups.entrySet()) {
            if (all != null) {
                sums.put(entry.getKey(), all.view(at, Shape.of(entry.getValue())));
                at += entry.getValue();
            }
        }
    }

    /** Gradients are about to be computed. */
    void begin(boolean oneMicroBatch) {
        written.clear();
        wanted = oneMicroBatch;
    }

    /** Where the squared norms of the groups of a gradient go that is written as a whole now; null when not wanted. */
    @Nullable
    Tensor written(Parameter parameter) {
        Tensor of = wanted ? sums.get(parameter.name()) : null;
        if (of != null) {
            written.add(parameter.name());
        }
        return of;
    }

    /** The products that write the gradients of these were queued without asking here. */
    void written(Set<String> names) {
        if (wanted) {
            names.stream().filter(sums::containsKey).forEach(written::add);
        }
    }

    /** True when the squares of all parameters kept here belong to their gradients; false when none is kept. */
    public boolean complete() {
        return !sums.isEmpty() && written.size() == sums.size();
    }

    /** FP32, one element for each group of each parameter; null when there are none. */
    public @Nullable Tensor all() {
        return all;
    }

    /**
     * The squared norm of each parameter's gradient, summed over its groups in FP64 in their order.
     *
     * @param host {@link #all} on the host
     */
    public Map<String, Double> ofParameters(float[] host) {
        Map<String, Double> result = new LinkedHashMap<>();
        int at = 0;
        for (Map.Entry<String, Tensor> entry : sums.entrySet()) {
            double sum = 0;
            for (int i = 0; i < entry.getValue().elements(); i++) {
                sum += host[at++];
            }
            result.put(entry.getKey(), sum);
        }
        return result;
    }
}
