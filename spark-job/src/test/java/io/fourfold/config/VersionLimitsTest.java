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
        for (String recipe : List.of("fp32", "bf16", "fp8", "nvfp4", "mxfp4")) {
            assertThat(VersionLimits.problems(tiny(one, "run.backend=cuda", "recipe.kind=" + recipe)))
                    .as(recipe)
                    .isEmpty();
        }
    }

    @Test
    void aGpuPacksRowsForDispatch() {
        for (String dispatch : List.of("exact", "fp8", "nvfp4")) {
            assertThat(VersionLimits.problems(tiny(
                            "parallel={world_size: 1, expert_parallel_size: 1}",
                            "run.backend=cuda",
                            "recipe.kind=bf16",
                            "recipe.dispatch=" + dispatch)))
                    .as(dispatch)
                    .isEmpty();
        }
    }

    @Test
    void everyAxisTrainsOnGpus() {
        for (String parallel : List.of(
                "{world_size: 2}",
                "{world_size: 2, expert_parallel_size: 2}",
                "{world_size: 2, pipeline_parallel_size: 2, virtual_stages: 1}",
                "{world_size: 4, tensor_parallel_size: 2, context_parallel_size: 2, context_exchange: ring}",
                "{world_size: 2, expert_tensor_parallel_size: 2}")) {
            assertThat(VersionLimits.problems(tiny("parallel=" + parallel, "run.backend=cuda", "recipe.kind=bf16")))
                    .as(parallel)
                    .isEmpty();
        }
    }
}
