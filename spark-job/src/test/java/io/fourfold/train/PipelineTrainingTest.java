package io.fourfold.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.fourfold.kernels.cpu.CpuTensor;
import io.fourfold.metrics.EventKind;
import io.fourfold.metrics.StepMetrics;
import io.fourfold.metrics.StepMetrics.LayerLoad;
import io.fourfold.model.MoeTransformer;
import io.fourfold.model.ParameterStore;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Whole runs with pipeline parallelism against the same run on one rank. */
class PipelineTrainingTest {
    private static final double FP32_NOISE = 2e-5;

    @TempDir
    Path folder;

    private TinyRun run(String name, String mapping) {
        TinyRun run = new TinyRun(folder.resolve(name))
                .set("model.layers", 4)
                .set("train.eval_every", 3)
                .set("run.checkpoint", "{every: 3, keep_last: 9}");
        if (!mapping.isEmpty()) {
            for (String setting : mapping.split(" ")) {
                String[] parts = setting.split("=", -1);
                run.set("parallel." + parts[0], parts[1]);
            }
        }
        return run;
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "world_size=2 pipeline_parallel_size=2",
                "world_size=2 pipeline_parallel_size=2 virtual_stages=2",
                "world_size=2 pipeline_parallel_size=2 stage_layout=[1,3]",
                "world_size=4 pipeline_parallel_size=4 stage_layout=[0,2,2,0]",
                "world_size=4 pipeline_parallel_size=2 expert_parallel_size=2",
            })
    void trainsLikeOneRank(String mapping) {
        TinyRun alone = run("alone", "");
        TinyRun pipelined = run("pipelined", mapping);
        alone.set("model.tie_embeddings", true).train();
        List<TrainResult> results = pipelined.set("model.tie_embeddings", true).train();
        assertClose(pipelined.losses(), alone.losses());
        assertClose(pipelined.gradientNorms(), alone.gradientNorms());
        assertThat(results)
                .extracting(TrainResult::validationLoss)
                .containsOnly(results.get(0).validationLoss());
        assertClose(
                pipelined.sink().evaluations().stream().map(e -> e.loss()).toList(),
                alone.sink().evaluations().stream().map(e -> e.loss()).toList());
        for (int i = 0; i < alone.sink().steps().size(); i++) {
            StepMetrics expected = alone.sink().steps().get(i);
            StepMetrics actual = pipelined.sink().steps().get(i);
            assertThat(actual.expertLoad()).extracting(LayerLoad::layer).containsExactly(1, 2, 3);
            assertThat(actual.expertLoad().get(2).tokens())
                    .isEqualTo(expected.expertLoad().get(2).tokens());
            assertThat(actual.auxLoss()).isCloseTo(expected.auxLoss(), within(1e-5));
        }
        assertThat(pipelined.sink().facts().get("parameters"))
                .isEqualTo(alone.sink().facts().get("parameters"));
    }

    @Test
    void telemetryComesFromEveryStage() {
        TinyRun alone = run("alone", "").set("recipe.kind", "nvfp4").set("recipe.telemetry_every", 1);
        TinyRun pipelined = run("pipelined", "world_size=2 pipeline_parallel_size=2")
                .set("recipe.kind", "nvfp4")
                .set("recipe.telemetry_every", 1);
        alone.train();
        pipelined.train();
        Map<String, ?> expected = alone.sink().steps().get(0).quantization();
        assertThat(expected).isNotEmpty();
        assertThat(pipelined.sink().steps().get(0).quantization().keySet()).isEqualTo(expected.keySet());
    }

    @Test
    void aRunMovesBetweenPipelines() throws IOException {
        TinyRun alone = run("alone", "").set("model.tie_embeddings", true);
        alone.train();
        TinyRun whole = run("whole", "world_size=2 pipeline_parallel_size=2 virtual_stages=2")
                .set("model.tie_embeddings", true);
        whole.train();
        TinyRun back = run("whole", "").set("model.tie_embeddings", true);
        dropCheckpoint("step-00000006");
        assertThat(back.train().get(0).firstStep()).isEqualTo(3);
        assertClose(back.losses(), alone.losses().subList(3, 6));
        dropCheckpoint("step-00000006");
        TinyRun other = run("whole", "world_size=4 pipeline_parallel_size=4 stage_layout=[0,2,2,0]")
                .set("model.tie_embeddings", true);
        assertThat(other.train().get(0).firstStep()).isEqualTo(3);
        assertClose(other.losses(), alone.losses().subList(3, 6));
    }

    @Test
    void aBadWeightOfALaterStageIsNamed() {
        TinyRun run = run("bad", "world_size=2 pipeline_parallel_size=2").model((inputs, groups) -> {
            MoeTransformer model = MoeTransformer.create(inputs.config(), inputs.backend(), groups);
            return new HookedModel(TrainableModel.of(model), (parameters, step) -> {
                if (step == 2) {
                    spoil(parameters, "layers.3.ffn_norm");
                }
            });
        });
        assertThat(run.outcomes())
                .allSatisfy(outcome -> assertThat(outcome.failure())
                        .isInstanceOf(TrainingException.class)
                        .hasMessageContaining("step 2")
                        .hasMessageContaining("rank 1, micro-batch 0")
                        .hasMessageContaining("layers.3.ffn_norm"));
        assertThat(run.events(EventKind.NON_FINITE)).hasSize(1);
    }

    /** Puts a NaN into a parameter where this rank has it. */
    static void spoil(ParameterStore store, String name) {
        store.parameters().stream()
                .filter(p -> p.name().equals(name))
                .map(p -> CpuTensor.of(p.weight()))
                .forEach(weight -> weight.floats()[weight.offset()] = Float.NaN);
    }

    private void dropCheckpoint(String name) throws IOException {
        Path checkpoint = folder.resolve("whole/checkpoints").resolve(name);
        try (Stream<Path> files = Files.list(checkpoint)) {
            for (Path file : files.toList()) {
                Files.delete(file);
            }
        }
        Files.delete(checkpoint);
    }

    private static void assertClose(List<Double> actual, List<Double> expected) {
        assertThat(actual).hasSameSizeAs(expected);
        for (int i = 0; i < actual.size(); i++) {
            assertThat(actual.get(i)).isCloseTo(expected.get(i), within(FP32_NOISE * Math.abs(expected.get(i))));
        }
    }
}
