package io.fourfold.model;

import java.util.HashSet;
import java.util.Set;

/**
 * The parameters whose gradients hold nothing in a step so far. The first backward that comes to one of them writes the
 * gradient, later ones add to it.
 */
final class FirstWrites {
    private final Set<String> names = new HashSet<>();

    void add(Parameter parameter) {
        names.add(parameter.name());
    }

    /** True once for each parameter: the caller writes its whole gradient now. */
    boolean take(Parameter parameter) {
        return names.remove(parameter.name());
    }

    /** Names of those that are not written yet. */
    Set<String> names() {
        return Set.copyOf(names);
    }

    /** Goes back, or ahead, to where only these are not written. */
    void set(Set<String> unwritten) {
        names.clear();
        names.addAll(unwritten);
    }
}
