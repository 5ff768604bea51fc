package io.fourfold.model;

import java.util.EnumMap;
import java.util.Map;
import java.util.function.IntPredicate;
import org.jspecify.annotations.Nullable;

/**
 * Weights that the optimizer may gather as codes instead of as they are, by kind, and which of the two ranks have at the
 * moment. While they have codes, a rank's flat buffers hold the newest values only of what it updates itself and of what
 * travels as it is; {@link #requireWeights} fetches the rest.
 */
public final class GatheredCodes {
    private final Map<Parameter.Kind, WeightCodes> kinds = new EnumMap<>(Parameter.Kind.class);
    private final IntPredicate usable;
    private boolean current;
    private Runnable gather = () -> {
        throw new IllegalStateException("weights were gathered as codes, and there is no optimizer that has them");
    };

    /**
     * @param usable whether the products of a step read nothing of these weights but their codes
     */
    GatheredCodes(IntPredicate usable) {
        this.usable = usable;
    }

    /** Every weight travels as it is. */
    static GatheredCodes none() {
        return new GatheredCodes(step -> false);
    }

    void put(Parameter.Kind kind, WeightCodes codes) {
        kinds.put(kind, codes);
    }

    /** Null where all of a kind travels as it is. */
    public @Nullable WeightCodes of(Parameter.Kind kind) {
        return kinds.get(kind);
    }

    /** Whether codes are all that a step needs of the weights that have some. */
    public boolean serve(int step) {
        return !kinds.isEmpty() && usable.test(step);
    }

    /** The ranks have the codes of the newest weights, and not all weights themselves; or all weights. */
    public void setCurrent(boolean codes) {
        current = codes;
    }

    /**
     * @param collective makes all weights whole on every rank
     */
    public void gatherWith(Runnable collective) {
        gather = collective;
    }

    /** Makes all weights whole unless they are; collective over the ranks that share some. */
    void requireWeights() {
        if (current) {
            gather.run();
            current = false;
        }
    }

    /** The codes of a parameter's newest weights; null where it has none and its weights are whole. */
    WeightCodes.@Nullable Coded of(Parameter parameter) {
        WeightCodes codes = current ? kinds.get(parameter.kind()) : null;
        return codes == null ? null : codes.of(parameter.name());
    }
}
