package io.fourfold.model;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Tells a listener about the parameters of a block, or of the head, when the last micro-batch has passed it. */
final class GradientProgress {
    private final Map<String, List<Parameter>> units = new LinkedHashMap<>();
    private final GradientListener listener;

    GradientProgress(ParameterStore store, GradientListener listener) {
        this.listener = listener;
        for (Parameter parameter : store.parameters()) {
            units.computeIfAbsent(unit(parameter.name()), name -> new ArrayList<>())
                    .add(parameter);
        }
    }

    /** {@code layers.3.} of a block's parameter, the whole name otherwise. */
    private static String unit(String name) {
        int end = name.startsWith("layers.") ? name.indexOf('.', "layers.".length()) : -1;
        return end < 0 ? name : name.substring(0, end + 1);
    }

    /** Whether blocks should be told of one by one. */
    boolean early() {
        return listener.listensDuringBackward();
    }

    /** The micro-batch has passed everything. */
    void allDone(ModelChunk chunk) {
        headDone();
        for (int i = chunk.blocks().size() - 1; i >= 0; i--) {
            blockDone(chunk.blocks().get(i).index());
        }
    }

    void blockDone(int layer) {
        done(ParameterNames.layer(layer));
    }

    /** Final norm and an untied output projection; a tied one is complete with the embedding. */
    void headDone() {
        done(ParameterDeclarations.FINAL_NORM);
        done(ParameterDeclarations.HEAD);
    }

    private void done(String unit) {
        units.getOrDefault(unit, List.of()).forEach(listener::complete);
    }
}
