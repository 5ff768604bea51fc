package io.fourfold.model;

import io.fourfold.config.FourfoldConfig;
import java.util.Arrays;
import java.util.stream.Stream;

/** The model of {@link LawTest}: as small as sixteen ranks allow on every axis. */
final class LawModel {
    private static final String[] SETTINGS = {
        "model.layers=4",
        "model.hidden_size=16",
        "model.vocab_size=32",
        "model.attention={heads: 8, kv_heads: 4, head_dim: 4}",
        "model.ffn={intermediate_size: 16}",
        "model.moe={experts: 16, top_k: 2, intermediate_size: 8, dense_layers: [1]}",
        "train.sequence_length=32",
        "train.global_batch_size=16",
        // Far above the gradients' noise: the first step of Adam is otherwise the sign of the gradient.
        "train.optimizer.epsilon=0.01",
        "train.optimizer.clip_norm=0.1",
    };

    private LawModel() {}

    static FourfoldConfig config(String[]... settings) {
        return TinyModels.config(Stream.concat(Stream.<String[]>of(SETTINGS), Arrays.stream(settings))
                .flatMap(Arrays::stream)
                .toArray(String[]::new));
    }
}
