package io.fourfold.model;

import io.fourfold.config.ConfigLoader;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.Batch;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;

/** Configurations and batches of tests. */
final class TinyModels {
    private TinyModels() {}

    /** A model with two MoE blocks in the exact recipe, changed by {@code key=value} settings. */
    static FourfoldConfig config(String... settings) {
        List<String> sets = new ArrayList<>(List.of(
                "model.name=test",
                "model.layers=2",
                "model.hidden_size=16",
                "model.vocab_size=23",
                "model.init_std=0.3",
                "model.attention={heads: 4, kv_heads: 2, head_dim: 4}",
                "model.ffn={intermediate_size: 20}",
                "model.moe={experts: 4, top_k: 2, intermediate_size: 12}",
                "recipe.kind=fp32",
                "train.sequence_length=6",
                "train.micro_batch_size=1",
                "train.global_batch_size=16",
                // AdamW's first step is close to the sign of the gradient, which noise may turn where it is near zero;
                // with an epsilon above that noise the step is smooth.
                "train.optimizer.epsilon=1e-4"));
        sets.addAll(Arrays.asList(settings));
        return ConfigLoader.load(List.of(), sets).config();
    }

    /** Random tokens with two documents in each sequence and one label ignored. */
    static Batch batch(FourfoldConfig config, int samples, long seed) {
        int length = config.train().sequenceLength();
        int count = samples * length;
        Random random = new Random(seed);
        int[] tokens = random.ints(count, 0, config.model().vocabSize()).toArray();
        int[] labels = random.ints(count, 0, config.model().vocabSize()).toArray();
        int[] documentStart = new int[count];
        int[] positions = new int[count];
        int[] rowIds = new int[count];
        for (int i = 0; i < count; i++) {
            int t = i % length;
            documentStart[i] = t >= length / 2 ? length / 2 : 0;
            positions[i] = t;
            rowIds[i] = i;
        }
        labels[length / 2 - 1] = -1;
        return new Batch(samples, length, tokens, labels, documentStart, positions, rowIds);
    }

    /** Samples {@code [from, from + count)} of a batch. */
    static Batch slice(Batch batch, int from, int count) {
        int length = batch.sequenceLength();
        int start = from * length;
        int end = (from + count) * length;
        return new Batch(
                count,
                length,
                Arrays.copyOfRange(batch.tokens(), start, end),
                Arrays.copyOfRange(batch.labels(), start, end),
                Arrays.copyOfRange(batch.documentStart(), start, end),
                Arrays.copyOfRange(batch.positions(), start, end),
                Arrays.copyOfRange(batch.rowIds(), start, end));
    }

    /** The entry of a map that must have it. */
    static <V> V entry(Map<String, V> map, String key) {
        V value = map.get(key);
        if (value == null) {
            throw new AssertionError("no entry " + key + " among " + map.keySet());
        }
        return value;
    }
}
