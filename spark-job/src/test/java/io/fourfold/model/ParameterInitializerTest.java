package io.fourfold.model;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.cpu.CpuBackend;
import io.fourfold.model.Parameter.Kind;
import io.fourfold.parallel.StageLayout;
import java.util.Map;
import java.util.TreeMap;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;

class ParameterInitializerTest {
    private static final FourfoldConfig CONFIG =
            TinyModels.config("model.hidden_size=64", "model.vocab_size=300", "model.init_std=0.02");

    @Test
    void valuesDoNotDependOnHowExpertsAreSplit() {
        Map<String, float[]> whole = new TreeMap<>();
        addValues(whole, 0, 4);
        Map<String, float[]> split = new TreeMap<>();
        addValues(split, 0, 1);
        // Dense tensors are there on every rank: add them once.
        Map<String, float[]> dense = new TreeMap<>(split);
        for (int rank = 1; rank < 4; rank++) {
            addValues(split, rank, 1);
        }
        for (Map.Entry<String, float[]> entry : whole.entrySet()) {
            float[] actual = TinyModels.entry(split, entry.getKey());
            if (!entry.getKey().contains("experts")) {
                assertThat(dense).containsKey(entry.getKey());
                for (int i = 0; i < actual.length; i++) {
                    actual[i] /= 4;
                }
            }
            assertThat(actual).as(entry.getKey()).isEqualTo(entry.getValue());
        }
    }

    @Test
    void momentsAreThoseAskedFor() {
        Map<String, float[]> values = new TreeMap<>();
        addValues(values, 0, 4);
        assertThat(deviation(TinyModels.entry(values, ParameterNames.EMBEDDING)))
                .isCloseTo(0.02, Offset.offset(0.0005));
        assertThat(deviation(TinyModels.entry(values, ParameterNames.attention(1, "o", "weight"))))
                .isCloseTo(0.02 / 2, Offset.offset(0.0005));
        assertThat(values.get(ParameterNames.FINAL_NORM)).containsOnly(1f);
        assertThat(values.get(ParameterNames.experts(0, "gate")))
                .isNotEqualTo(values.get(ParameterNames.experts(1, "gate")));
    }

    @Test
    void quantileMatchesKnownValues() {
        assertThat(NormalQuantile.of(0.5)).isZero();
        assertThat(NormalQuantile.of(0.975)).isCloseTo(1.959963984540054, Offset.offset(1e-8));
        assertThat(NormalQuantile.of(0.001)).isCloseTo(-3.090232306167813, Offset.offset(1e-8));
        assertThat(NormalQuantile.of(1 - 1e-6)).isCloseTo(4.753424308822899, Offset.offset(1e-7));
    }

    private static double deviation(float[] values) {
        double sum = 0;
        double squares = 0;
        for (float v : values) {
            sum += v;
            squares += (double) v * v;
        }
        double mean = sum / values.length;
        assertThat(mean).isCloseTo(0, Offset.offset(0.001));
        return Math.sqrt(squares / values.length - mean * mean);
    }

    /** Adds the initial values of the rank that holds {@code count} experts from {@code rank * count} on. */
    private static void addValues(Map<String, float[]> global, int rank, int count) {
        ParameterStore.Builder builder = new ParameterStore.Builder();
        new ParameterDeclarations(
                        CONFIG.model(),
                        StageLayout.of(CONFIG.model(), CONFIG.parallel()).of(0),
                        0,
                        1,
                        rank * count,
                        count,
                        0,
                        1)
                .declare(builder);
        try (Backend backend = new CpuBackend(1);
                ParameterStore store = builder.build(backend, Map.of(Kind.DENSE, 1, Kind.EXPERT, 1))) {
            new ParameterInitializer(CONFIG.model(), backend, 42).fill(store);
            for (Parameter parameter : store.parameters()) {
                float[] local = backend.download(parameter.weight());
                for (Piece piece : parameter.pieces()) {
                    int elements = 1;
                    for (long dim : piece.globalShape()) {
                        elements *= (int) dim;
                    }
                    int size = elements;
                    RankGroup.add(piece, local, global.computeIfAbsent(piece.name(), name -> new float[size]));
                }
            }
        }
    }
}
