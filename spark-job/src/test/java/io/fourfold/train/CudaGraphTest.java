package io.fourfold.train;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.kernels.cuda.CudaBackend;
import io.fourfold.kernels.cuda.CudaDevice;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.stream.Stream;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * Micro-batches as CUDA graphs train bit for bit as their kernels one by one: losses, gradient norms, validation, weights and
 * moments. The number of labels, so the loss scale, differs from step to step, and so do stochastic rounding's random bits.
 */
@Tag("gpu")
class CudaGraphTest {
    private static final int STEPS = 20;

    @TempDir
    Path folder;

    private record Trained(
            List<Double> losses, List<Double> norms, double validation, Map<String, byte[]> tensors, long graphs) {}

    @BeforeEach
    void requireGpu() {
        String reason = CudaDevice.unavailableBecause();
        if (reason != null) {
            Assumptions.abort("no CUDA graphs: " + reason);
        }
    }

    /** Four micro-batches a step, two graphs: the first one writes gradients, the others add to them. */
    @ParameterizedTest
    @CsvSource({"fp32", "bf16", "fp8 block", "fp8 tensor", "nvfp4", "mxfp4"})
    void changeNoBit(String recipe) {
        compare(recipe, Map.of(), 4 * (STEPS - 4));
    }

    /** One micro-batch a step, whose activations lie in gradients. */
    @ParameterizedTest
    @CsvSource({"bf16", "fp8 block", "fp8 tensor", "nvfp4", "mxfp4"})
    void changeNoBitInLentMemory(String recipe) {
        compare(recipe, Map.of("train.micro_batch_size", "4"), STEPS - 4);
    }

    /** Between steps come evaluations and traced steps; late in training the formats change. */
    @ParameterizedTest
    @CsvSource({"nvfp4, both", "nvfp4, forward", "fp8 block, backward"})
    void changeNoBitAcrossSwitches(String recipe, String direction) {
        Map<String, String> settings = Map.of(
                "train.micro_batch_size", "2",
                "train.eval_every", "6",
                "recipe.telemetry_every", "5",
                "recipe.late_switch.step", "12",
                "recipe.late_switch.direction", direction);
        compare(recipe, settings, STEPS / 2);
    }

    /** Dropped tokens, packed rows, computing again. */
    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "bf16  | model.moe.capacity.factor=1.0",
                "nvfp4 | train.recompute=[norm, activation, dispatch]",
                "bf16  | train.recompute=[block]",
                "nvfp4 | recipe.dispatch=nvfp4",
                "bf16  | model.tie_embeddings=true",
                "bf16  | model.moe.router.aux_loss_scope=sequence"
            })
    void changeNoBitOfVariants(String recipe, String setting) {
        String[] parts = setting.split("=", 2);
        compare(recipe, Map.of(parts[0], parts[1]), STEPS / 2);
    }

    /** Two data-parallel ranks that share the GPU: each records and launches its own graphs, sums go through the host. */
    @ParameterizedTest
    @CsvSource({"bf16", "nvfp4"})
    void changeNoBitOnTwoRanks(String recipe) {
        compare(recipe, Map.of("parallel.world_size", "2"), 2 * 2 * (STEPS - 4));
    }

    /** Of two micro-batches the last one is launched piece by piece, for its gradients are summed meanwhile. */
    @ParameterizedTest
    @CsvSource({"bf16", "nvfp4"})
    void changeNoBitBesideSums(String recipe) {
        compare(
                recipe,
                Map.of(
                        "parallel.world_size",
                        "2",
                        "parallel.gradients.overlap",
                        "true",
                        "parallel.gradients.bucket_mib",
                        "1"),
                2 * (STEPS - 4));
    }

    private void compare(String recipe, Map<String, String> settings, long fewestGraphs) {
        Trained plain = train(recipe, settings, false);
        Trained graphs = train(recipe, settings, true);
        System.out.println(
                recipe + " " + settings + ": " + graphs.graphs() + " graphs launched, losses " + graphs.losses());
        assertThat(graphs.losses()).isEqualTo(plain.losses());
        assertThat(graphs.norms()).isEqualTo(plain.norms());
        assertThat(graphs.validation()).isEqualTo(plain.validation());
        assertThat(graphs.tensors().keySet())
                .isEqualTo(plain.tensors().keySet())
                .isNotEmpty();
        graphs.tensors()
                .forEach((file, bytes) -> assertThat(bytes)
                        .as("checkpoint file %s", file)
                        .isEqualTo(plain.tensors().get(file)));
        assertThat(plain.graphs()).isZero();
        assertThat(graphs.graphs()).isGreaterThanOrEqualTo(fewestGraphs);
    }

    private Trained train(String recipe, Map<String, String> settings, boolean graphs) {
        String[] parts = recipe.split(" ");
        List<CudaBackend> used = new CopyOnWriteArrayList<>();
        boolean alone = !settings.containsKey("parallel.world_size");
        Path run = folder.resolve("graphs-" + graphs);
        TinyRun tiny = new TinyRun(run)
                .set("recipe.kind", parts[0])
                .set("recipe.fp8_scaling", parts.length > 1 ? parts[1] : "block")
                .set("train.steps", STEPS)
                .set("train.optimizer.learning_rate", 0.001)
                .set("model.hidden_size", 64)
                .set("model.attention.head_dim", 32)
                .set("model.ffn.intermediate_size", 128)
                .set("model.moe.intermediate_size", 64)
                .set("run.checkpoint.every", STEPS)
                .set("train.cuda_graphs", graphs)
                .backend(() -> {
                    CudaBackend backend = alone ? new CudaBackend(0) : CudaBackend.shared(0);
                    used.add(backend);
                    return backend;
                });
        settings.forEach(tiny::set);
        TrainResult result = tiny.train().get(0);
        return new Trained(
                tiny.losses(),
                tiny.gradientNorms(),
                result.validationLoss(),
                tensors(run),
                used.stream().mapToLong(CudaBackend::graphLaunches).sum());
    }

    /** The data files of the checkpoints by step and rank; the rest of their names differs from save to save. */
    private static Map<String, byte[]> tensors(Path run) {
        Map<String, byte[]> files = new TreeMap<>();
        try (Stream<Path> all = Files.walk(run)) {
            all.filter(file -> file.getFileName().toString().endsWith(".bin")).forEach(file -> {
                try {
                    // All but the part between the first dot and the last, which differs from save to save.
                    String name = run.relativize(file).toString().replaceFirst("\\.[^/]*\\.bin$", "");
                    files.put(name, Files.readAllBytes(file));
                } catch (IOException e) {
                    throw new UncheckedIOException(e);
                }
            });
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return files;
    }
}
