package io.fourfold.config;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;

final class VersionLimitsTest {
    private static FourfoldConfig tiny(String... sets) {
        Path file = Path.of(System.getProperty("fourfold.root"), "conf/run/tiny.yaml");
        return ConfigLoader.load(List.of(file), List.of(sets)).config();
    }

    @Test
    void oneGpuTrainsTheRecipesItHas() {
        String one = "parallel={world_size: 1, expert_parallel_size: 1}";
        for (String recipe : List.of("fp32", "bf16", "fp8", "nvfp4")) {
            assertThat(VersionLimits.problems(tiny(one, "run.backend=cuda", "recipe.kind=" + recipe)))
                    .as(recipe)
                    .isEmpty();
        }
    }

    @Test
    void severalGpusTrainByDataParallelismOnly() {
        assertThat(VersionLimits.problems(tiny("parallel.world_size=2", "run.backend=cuda")))
                .isEmpty();
        assertThat(VersionLimits.problems(
                        tiny("parallel={world_size: 2, expert_parallel_size: 2}", "run.backend=cuda")))
                .extracting(Problem::key)
                .containsExactly("parallel.expert_parallel_size");
    }

    @Test
    void cudaRefusesOtherParallelismAndTheOtherRecipes() {
        FourfoldConfig config = tiny(
                "parallel={world_size: 4, tensor_parallel_size: 2, context_parallel_size: 2, context_exchange: ring}",
                "run.backend=cuda",
                "recipe.kind=bf16");
        assertThat(VersionLimits.problems(tiny("run.backend=cuda", "recipe.kind=mxfp4")))
                .extracting(Problem::key)
                .contains("recipe.kind");
        assertThat(VersionLimits.problems(config))
                .extracting(Problem::key)
                .contains(
                        "parallel.tensor_parallel_size", "parallel.context_parallel_size", "parallel.context_exchange");
    }

    @Test
    void automaticChoiceIsNeverRefused() {
        FourfoldConfig config = tiny("parallel.world_size=2", "run.backend=auto", "recipe.kind=mxfp4");
        assertThat(VersionLimits.problems(config)).isEmpty();
        assertThat(VersionLimits.cudaProblems(config)).hasSize(1);
    }
}
