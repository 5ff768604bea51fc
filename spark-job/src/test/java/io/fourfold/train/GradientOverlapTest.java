package io.fourfold.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.fourfold.metrics.EventKind;
import io.fourfold.metrics.StepMetrics;
import io.fourfold.model.MoeTransformer;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Sums of gradients in buckets beside the backward pass. */
class GradientOverlapTest {
    @TempDir
    Path folder;

    /** The embedding alone is more than a bucket of a MiB on any rank. */
    private TinyRun run(String name, String mapping, String gradients) {
        TinyRun run = new TinyRun(folder.resolve(name))
                .set("model.layers", 4)
                .set("model.hidden_size", 256)
                .set("model.vocab_size", 4096)
                .set("model.attention", "{heads: 4, kv_heads: 2, head_dim: 8}")
                .set("model.tie_embeddings", true)
                .set("train.steps", 3)
                .set("recipe.kind", "bf16")
                .set("parallel.gradients", gradients);
        for (String setting : mapping.split(" ")) {
            String[] parts = setting.split("=", -1);
            run.set("parallel." + parts[0], parts[1]);
        }
        return run;
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "world_size=2",
                "world_size=4 expert_parallel_size=2",
                "world_size=4 pipeline_parallel_size=2",
                "world_size=4 tensor_parallel_size=2",
                "world_size=4 pipeline_parallel_size=2 virtual_stages=2",
            })
    void givesTheSameBits(String mapping) {
        TinyRun plain = run("plain", mapping, "{overlap: false}");
        TinyRun overlapped = run("overlapped", mapping, "{overlap: true, bucket_mib: 1}");
        plain.train();
        overlapped.train();
        assertThat(overlapped.losses()).isEqualTo(plain.losses());
        assertThat(overlapped.gradientNorms()).isEqualTo(plain.gradientNorms());
        assertThat(overlapped.sink().steps().get(2).bytesSent())
                .isEqualTo(plain.sink().steps().get(2).bytesSent());
    }

    @ParameterizedTest
    @CsvSource({"bf16, 0.00390625, 0.6667", "fp8, 0.0625, 0.505"})
    void shorterGradientsKeepTheirErrorBound(String format, double error, double bytes) {
        TinyRun exact = run("exact", "world_size=2", "{format: fp32}");
        TinyRun rounded = run("rounded", "world_size=2", "{format: " + format + "}");
        TinyRun overlapped = run("overlapped", "world_size=2", "{overlap: true, format: " + format + "}");
        exact.train();
        rounded.train();
        overlapped.train();
        StepMetrics expected = exact.sink().steps().get(0);
        StepMetrics actual = rounded.sink().steps().get(0);
        assertThat(actual.gradNorm()).isCloseTo(expected.gradNorm(), within(expected.gradNorm() * error));
        assertThat(rounded.losses().get(2))
                .isCloseTo(exact.losses().get(2), within(0.02 * exact.losses().get(2)));
        double before = expected.bytesSent().getOrDefault("dp_cp", 0L);
        assertThat(actual.bytesSent().getOrDefault("dp_cp", 0L) / before).isCloseTo(bytes, within(0.003));
        assertThat(overlapped.losses()).isEqualTo(rounded.losses());
        TinyRun inBuckets = run("buckets", "world_size=2", "{overlap: true, bucket_mib: 1, format: " + format + "}");
        inBuckets.train();
        StepMetrics first = inBuckets.sink().steps().get(0);
        assertThat(first.bytesSent()).isEqualTo(actual.bytesSent());
        if (format.equals("bf16")) {
            assertThat(inBuckets.losses()).isEqualTo(rounded.losses());
            assertThat(inBuckets.gradientNorms()).isEqualTo(rounded.gradientNorms());
        } else { // rows with a scale begin elsewhere
            assertThat(first.gradNorm()).isCloseTo(expected.gradNorm(), within(expected.gradNorm() * error));
            assertThat(inBuckets.losses().get(2))
                    .isCloseTo(
                            exact.losses().get(2), within(0.02 * exact.losses().get(2)));
        }
    }

    @Test
    void aNonFiniteGradientStillStopsTheRun() {
        TinyRun run = run("bad", "world_size=2", "{overlap: true}").model((inputs, groups) -> {
            TrainableModel model = TrainableModel.of(MoeTransformer.create(inputs.config(), inputs.backend(), groups));
            return new HookedModel(model, (parameters, step) -> {
                if (step == 2) {
                    PipelineTrainingTest.spoil(parameters, "layers.3.ffn_norm");
                }
            });
        });
        List<Ranks.Outcome<TrainResult>> outcomes = run.outcomes();
        assertThat(outcomes)
                .allSatisfy(outcome -> assertThat(outcome.failure())
                        .isInstanceOf(TrainingException.class)
                        .hasMessageContaining("layers.3.ffn_norm"));
        assertThat(run.events(EventKind.NON_FINITE)).hasSize(1);
    }
}
