package io.fourfold.train;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.cpu.CpuBackend;
import io.fourfold.metrics.EvalMetrics;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * Whole steps and evaluations with activations in the memory of gradients: the same bits under every mapping, also where
 * gradients are summed over ranks while backward goes on. A pipeline lends nothing.
 */
class LentGradientsTest {
    @TempDir
    Path folder;

    @ParameterizedTest
    @CsvSource({
        "'', 1, true",
        "world_size=2, 2, true",
        "world_size=2, 1, true",
        "world_size=4 expert_parallel_size=2, 1, true",
        "world_size=4 tensor_parallel_size=2 expert_tensor_parallel_size=2, 1, true",
        "world_size=4 context_parallel_size=2, 1, true",
        "world_size=2 pipeline_parallel_size=2, 2, false"
    })
    void changeNoBit(String mapping, int microBatches, boolean lends) {
        TinyRun plain = run("plain", mapping, microBatches);
        plain.train();
        List<CpuBackend> backends = new CopyOnWriteArrayList<>();
        TinyRun lending = run("lending", mapping, microBatches).backend(() -> remember(backends));
        lending.train();
        assertThat(lending.losses()).isEqualTo(plain.losses());
        assertThat(lending.gradientNorms()).isEqualTo(plain.gradientNorms());
        assertThat(validationLosses(lending)).hasSize(3).isEqualTo(validationLosses(plain));
        assertThat(backends).allSatisfy(backend -> {
            if (lends) {
                assertThat(backend.peakLentFloats()).isPositive();
            } else {
                assertThat(backend.peakLentFloats()).isZero();
            }
        });
    }

    private static List<Double> validationLosses(TinyRun run) {
        return run.sink().evaluations().stream().map(EvalMetrics::loss).toList();
    }

    private static Backend remember(List<CpuBackend> backends) {
        CpuBackend backend = CpuBackend.lending(1);
        backends.add(backend);
        return backend;
    }

    private TinyRun run(String name, String mapping, int microBatches) {
        TinyRun run = new TinyRun(folder.resolve(name))
                .set("model.layers", 4)
                .set("model.hidden_size", 64)
                .set("model.attention", "{heads: 4, kv_heads: 2, head_dim: 8}")
                .set("train.steps", 3)
                .set("train.eval_every", 1)
                .set("train.global_batch_size", 8)
                .set("recipe.kind", "bf16")
                .set("parallel.gradients", "{overlap: true, bucket_mib: 1}");
        int data = 1;
        for (String setting : mapping.isEmpty() ? new String[0] : mapping.split(" ")) {
            String[] parts = setting.split("=", -1);
            int degree = Integer.parseInt(parts[1]);
            data = switch (parts[0]) {
                case "world_size" -> data * degree;
                case "tensor_parallel_size", "context_parallel_size", "pipeline_parallel_size" -> data / degree;
                default -> data;
            };
            run.set("parallel." + parts[0], parts[1]);
        }
        return run.set("train.micro_batch_size", 8 / data / microBatches);
    }
}
