package io.fourfold.model;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.bench.BenchRanks;
import io.fourfold.bench.CpuBenchDevice;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.parallel.ParallelMapping;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * Weights gathered as NVFP4 codes give the same bits as weights gathered as they are: losses, gradient norms, evaluations and
 * every weight of every rank, after several steps.
 */
class WeightGatherTest {
    /**
     * @param mapping as in {@link LawMappings}
     * @param more settings, each {@code key=value}, separated by semicolons; may be null
     */
    static FourfoldConfig config(String mapping, String weights, @Nullable String more) {
        List<String> settings = new ArrayList<>(List.of(RecipeLawTest.MODEL));
        settings.add("train.global_batch_size=8");
        return config(settings, mapping, weights, more);
    }

    private static FourfoldConfig config(List<String> settings, String mapping, String weights, @Nullable String more) {
        settings.add("recipe.kind=nvfp4");
        settings.add("recipe.telemetry_every=0");
        settings.add("recipe.high_precision={last: 1}");
        settings.addAll(List.of(LawMappings.settings(mapping)));
        settings.add("parallel.gradients.weights=" + weights);
        if (more != null) {
            settings.addAll(List.of(more.split("; ")));
        }
        return TinyModels.config(settings.toArray(String[]::new));
    }

    private static GatheredSteps run(FourfoldConfig config) throws InterruptedException {
        try (BenchRanks ranks = BenchRanks.open(config.parallel().worldSize(), rank -> new CpuBenchDevice(1))) {
            return GatheredSteps.run(ranks, config);
        }
    }

    static void assertSame(GatheredSteps exact, GatheredSteps coded) {
        assertThat(coded.losses()).isEqualTo(exact.losses());
        assertThat(coded.norms()).isEqualTo(exact.norms());
        for (int rank = 0; rank < exact.weights().size(); rank++) {
            for (int kind = 0; kind < exact.weights().get(rank).size(); kind++) {
                assertThat(coded.weights().get(rank).get(kind))
                        .as("weights of rank %d, kind %d", rank, kind)
                        .isEqualTo(exact.weights().get(rank).get(kind));
            }
        }
    }

    @ParameterizedTest
    @CsvSource(
            nullValues = "-",
            delimiter = '|',
            value = {
                "W2 | -",
                "W4 | -",
                "W8 | -",
                "W2 | parallel.gradients.overlap=true; parallel.gradients.bucket_mib=1",
                "W4 EP2 | parallel.gradients.overlap=true",
                "W4 EP2 | parallel.gradients.format=bf16",
                "W2 | parallel.gradients.overlap=true; parallel.gradients.bucket_mib=1; model.vocab_size=4099",
                "W4 | parallel.gradients.overlap=true; parallel.gradients.bucket_mib=1; model.hidden_size=512",
                "W8 TP2 EP2 | parallel.gradients.overlap=true; parallel.gradients.bucket_mib=1; model.hidden_size=512",
                "W8 | parallel.gradients={overlap: true, bucket_mib: 1}; model.ffn.intermediate_size=4112",
                "W8 EP2 | -",
                "W4 TP2 | -",
                "W4 TP2 EP2 | parallel.gradients.overlap=true",
                "W4 ETP2 | -",
                "W4 CP2 | -",
                "W4 PP2 | -",
                "W4 PP2 V2 | -",
                "W8 TP2 EP2 ETP2 | -",
                "W8 TP2 CP2 PP2 EP2 | -",
                "W4 | model.vocab_size=37",
                "W8 | model.moe.experts=6; model.moe.intermediate_size=16",
                "W8 | model.moe.experts=6; model.moe.intermediate_size=16; parallel.gradients.overlap=true",
                "W2 | model.moe.intermediate_size=24",
                "W2 | recipe.scale_formula=paper",
                "W2 | recipe.high_precision={modules: [qkv, expert_down]}",
                "W2 | recipe.telemetry_every=2",
                "W2 | recipe.late_switch={step: 4}",
                "W2 | recipe.late_switch={step: 3, direction: backward}",
                "W2 | model.attention.qkv_bias=true; model.tie_embeddings=true",
                "W4 PP2 | model.tie_embeddings=true; train.recompute=[block]",
            })
    void givesTheSameBits(String mapping, @Nullable String more) throws InterruptedException {
        FourfoldConfig coded = config(mapping, "nvfp4", more);
        assertThat(CodeLayouts.of(coded, 0)).isNotEmpty();
        GatheredSteps exact = run(config(mapping, "exact", more));
        GatheredSteps actual = run(coded);
        assertSame(exact, actual);
        assertThat(actual.bytes("dp_cp")).isLessThan(exact.bytes("dp_cp"));
    }

    /** Every mapping of the law whose pieces are whole blocks. */
    @Tag("slow")
    @TestFactory
    Stream<DynamicTest> everyMapping() {
        return LawMappings.all().stream()
                .filter(mapping -> !mapping.contains("CP8"))
                .map(mapping -> DynamicTest.dynamicTest(mapping, () -> {
                    List<String> model = List.of(RecipeLawTest.LARGER_MODEL);
                    GatheredSteps exact = run(config(new ArrayList<>(model), mapping, "exact", null));
                    assertSame(exact, run(config(new ArrayList<>(model), mapping, "nvfp4", null)));
                }));
    }

    /** The cases above have shards that end inside matrices and inside strips. */
    @ParameterizedTest
    @CsvSource(
            nullValues = "-",
            delimiter = '|',
            value = {
                "W8 | - | DENSE | true",
                "W8 | - | EXPERT | false",
                "W4 | model.vocab_size=37 | DENSE | true",
                "W8 | model.moe.experts=6; model.moe.intermediate_size=16 | EXPERT | true",
            })
    void shardsEndAnywhere(String mapping, @Nullable String more, Parameter.Kind kind, boolean insideStrips) {
        CodeLayout layout = Objects.requireNonNull(
                CodeLayouts.of(config(mapping, "nvfp4", more), 0).get(kind));
        boolean insideMatrices = false;
        for (int rank = 1; rank < layout.sharding().ranks(); rank++) {
            int last = layout.ownRanges(rank - 1).stream()
                    .mapToInt(CodeLayout.MatrixRange::matrix)
                    .max()
                    .orElse(-1);
            insideMatrices |= layout.ownRanges(rank).stream().anyMatch(range -> range.matrix() == last);
        }
        assertThat(insideMatrices).isTrue();
        assertThat(layout.hasTails()).isEqualTo(insideStrips);
    }

    @Test
    void sendsFewerBytes() throws InterruptedException {
        String large =
                "model.moe.intermediate_size=128; model.ffn.intermediate_size=256; recipe.high_precision={last: 0}";
        FourfoldConfig config = config("W4 EP2", "nvfp4", large);
        GatheredSteps exact = run(config("W4 EP2", "exact", large));
        GatheredSteps coded = run(config);
        ParallelMapping mapping = ParallelMapping.of(config.parallel());
        assertThat(mapping.expertData()).isEqualTo(2);
        for (int rank = 0; rank < 4; rank++) {
            // Half of the bytes were gradients; an eighth of the other half is left: 0.5 + 0.5 * 4.1 / 32.
            double left = (double) TinyModels.entry(coded.bytes().get(rank), "edp")
                    / TinyModels.entry(exact.bytes().get(rank), "edp");
            assertThat(left).isBetween(0.56, 0.58);
        }
        assertSame(exact, coded);
    }
}
