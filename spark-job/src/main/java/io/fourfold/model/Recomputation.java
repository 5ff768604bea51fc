package io.fourfold.model;

import io.fourfold.config.RecomputeModule;
import java.util.Collection;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * What a pass keeps and what it computes again. Everything that is random is a function of counters, so what is computed
 * again has the same bits.
 *
 * @param modules what is not kept
 * @param replay this pass computes again what an earlier one reported: it must not be counted twice
 * @param input gives the present sublayer's input once more; null when it is kept
 */
record Recomputation(
        Set<RecomputeModule> modules,
        boolean replay,
        @Nullable InputAgain input) {
    static final Recomputation NONE = new Recomputation(Set.of(), false, null);
    static final Recomputation REPLAY = new Recomputation(Set.of(), true, null);

    Recomputation {
        modules = Set.copyOf(modules);
    }

    static Recomputation of(Collection<RecomputeModule> modules) {
        return new Recomputation(Set.copyOf(modules), false, null);
    }

    boolean has(RecomputeModule module) {
        return modules.contains(module);
    }

    Recomputation withInput(InputAgain again) {
        return new Recomputation(modules, replay, again);
    }
}
