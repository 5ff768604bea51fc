package io.fourfold.model;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.op.SegmentAmax;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import java.util.Arrays;
import java.util.EnumMap;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * The largest magnitude of each weight, of stacked weights of each group, told by the optimizer as it writes them so that
 * quantizing them need not look for it. Known from an update of a kind's whole flat buffer on this rank until the weights
 * are written in any other way.
 */
public final class WeightMagnitudes {
    /** Segments of a kind's flat buffer in their order, and their magnitudes. */
    private record Kept(long[] starts, Tensor amax) {}

    private final Map<Parameter.Kind, Kept> kept = new EnumMap<>(Parameter.Kind.class);
    private final Map<String, Tensor> ofParameters = new HashMap<>();
    private final Set<Parameter.Kind> known = EnumSet.noneOf(Parameter.Kind.class);

    /**
     * Keeps those of a kind.
     *
     * @param groups how many segments each parameter has, by name, in the order of the flat buffer
     * @param amax FP32, one element a segment
     */
    void keep(Parameter.Kind kind, Map<Parameter, Integer> groups, Tensor amax) {
        long[] starts = new long[Math.toIntExact(amax.elements()) + 1];
        int at = 0;
        for (Map.Entry<Parameter, Integer> entry : groups.entrySet()) {
            Parameter parameter = entry.getKey();
            int count = entry.getValue();
            for (int i = 0; i < count; i++) {
                starts[at + i] = parameter.offset() + parameter.elements() / count * i;
            }
            starts[at + count] = parameter.offset() + parameter.elements();
            ofParameters.put(parameter.name(), amax.view(at, Shape.of(count)));
            at += count;
        }
        kept.put(kind, new Kept(starts, amax));
    }

    /** FP32 [groups], [1] for one matrix; null where they are not known. */
    public @Nullable Tensor of(Parameter parameter) {
        return known.contains(parameter.kind()) ? ofParameters.get(parameter.name()) : null;
    }

    /** Whether an update of the whole flat buffer should tell them. */
    public boolean keeps(Parameter.Kind kind) {
        return kept.containsKey(kind);
    }

    /**
     * Where an update of elements {@code [from, to)} of the flat buffer puts them. Both ends are ends of parameters.
     */
    public SegmentAmax segments(Parameter.Kind kind, long from, long to) {
        Kept all = Objects.requireNonNull(kept.get(kind));
        int first = Arrays.binarySearch(all.starts, from);
        int end = Arrays.binarySearch(all.starts, to);
        if (first < 0 || end <= first) {
            throw new IllegalArgumentException(from + " .. " + to + " are not ends of parameters of kind " + kind);
        }
        long[] starts = new long[end - first + 1];
        Arrays.setAll(starts, i -> all.starts[first + i] - from);
        return new SegmentAmax(starts, all.amax.view(first, Shape.of(end - first)));
    }

    /** An update of the whole flat buffer begins. */
    public void begin(Backend backend, Parameter.Kind kind) {
        forget(kind);
        backend.elementwise().fill(Objects.requireNonNull(kept.get(kind)).amax, 0f);
    }

    /** It is over. */
    public void complete(Parameter.Kind kind) {
        known.add(kind);
    }

    /** The weights are written by somebody who does not tell. */
    public void forget(Parameter.Kind kind) {
        known.remove(kind);
    }
}
