package io.fourfold.train;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.checkpoint.ObjectStore;
import io.fourfold.metrics.EvalMetrics;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Whole runs whose weights are gathered as codes: validation, checkpoints, statistics, and what continues from them. */
class CodedWeightsTrainingTest {
    @TempDir
    Path folder;

    private TinyRun run(ObjectStore storage, String weights, int ranks) {
        return new TinyRun(folder)
                .storage(storage)
                .set("recipe.kind", "nvfp4")
                .set("recipe.telemetry_every", 3)
                .set("train.global_batch_size", 8)
                .set("train.eval_every", 1)
                .set("train.eval_samples", 4)
                .set("parallel.world_size", ranks)
                .set("parallel.gradients.weights", weights);
    }

    private static List<Double> validations(TinyRun run) {
        return run.sink().evaluations().stream().map(EvalMetrics::loss).toList();
    }

    @Test
    void aRunIsTheSameWithItsValidationsAndStatistics() {
        TinyRun exact = run(new ObjectStore(), "exact", 4);
        TinyRun coded = run(new ObjectStore(), "nvfp4", 4);
        exact.train();
        coded.train();
        assertThat(coded.losses()).isEqualTo(exact.losses());
        assertThat(coded.gradientNorms()).isEqualTo(exact.gradientNorms());
        assertThat(validations(coded)).hasSize(6).isEqualTo(validations(exact));
        for (int step = 0; step < 6; step++) {
            assertThat(coded.sink().steps().get(step).quantization())
                    .isEqualTo(exact.sink().steps().get(step).quantization());
        }
    }

    @Test
    void continuesFromEitherKindsCheckpoints() {
        TinyRun whole = run(new ObjectStore(), "exact", 2);
        whole.train();
        for (String first : List.of("exact", "nvfp4")) {
            ObjectStore storage = new ObjectStore();
            run(storage, first, 2).train();
            for (int later = 4; later <= 6; later++) {
                storage.delete("checkpoints/step-%08d".formatted(later));
            }
            TinyRun rest = run(storage, "nvfp4", 2);
            assertThat(rest.train().get(0).firstStep()).isEqualTo(3);
            assertThat(rest.losses()).isEqualTo(whole.losses().subList(3, 6));
            assertThat(validations(rest)).isEqualTo(validations(whole).subList(3, 6));
        }
    }
}
