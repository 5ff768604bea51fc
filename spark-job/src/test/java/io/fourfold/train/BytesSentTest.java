package io.fourfold.train;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.metrics.RecordingSink;
import io.fourfold.metrics.StepMetrics;
import io.fourfold.plan.Traffic;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What the communicators count is what the planner announces. Every token visits all experts, so routing is balanced,
 * and every label counts. */
class BytesSentTest {
    @TempDir
    Path folder;

    @ParameterizedTest
    @ValueSource(
            strings = {
                "world_size=2",
                "world_size=4",
                "world_size=4 gradients.format=bf16",
                "world_size=4 expert_parallel_size=2 gradients.format=fp8",
                "world_size=4 expert_parallel_size=2 gradients.overlap=true gradients.format=bf16",
                "world_size=2 expert_parallel_size=2",
                "world_size=4 expert_parallel_size=2",
                "world_size=2 tensor_parallel_size=2",
                "world_size=2 context_parallel_size=2",
                "world_size=4 tensor_parallel_size=2 context_parallel_size=2",
                "world_size=4 context_parallel_size=4 context_exchange=ring",
                "world_size=4 tensor_parallel_size=2 context_parallel_size=2 context_exchange=ring",
                "world_size=8 tensor_parallel_size=2 context_parallel_size=2 pipeline_parallel_size=2",
                "world_size=2 expert_parallel_size=2 dispatch_unit=slot",
                "world_size=4 expert_parallel_size=2 dispatch_unit=slot",
                "world_size=2 expert_tensor_parallel_size=2",
                "world_size=2 expert_tensor_parallel_size=2 dispatch_unit=slot",
                "world_size=4 expert_parallel_size=2 expert_tensor_parallel_size=2 dispatch_unit=slot",
                "world_size=4 expert_parallel_size=2 expert_tensor_parallel_size=2",
                "world_size=2 pipeline_parallel_size=2",
                "world_size=2 pipeline_parallel_size=2 virtual_stages=2",
                "world_size=4 pipeline_parallel_size=4 stage_layout=[0,2,2,0]",
                "world_size=4 pipeline_parallel_size=2 expert_parallel_size=2",
            })
    void everyRankSendsWhatThePlanSays(String mapping) {
        check(mapping, "bf16");
    }

    /** Shards end inside matrices and inside strips of 16 rows, one strip lies on several ranks. */
    @ParameterizedTest
    @ValueSource(
            strings = {
                "world_size=2",
                "world_size=4",
                "world_size=4 gradients.overlap=true gradients.format=bf16",
                "world_size=4 expert_parallel_size=2",
                "world_size=8 expert_parallel_size=2 pipeline_parallel_size=2",
                "world_size=4 pipeline_parallel_size=2 virtual_stages=2",
            })
    void codesOfWeightsAreCountedToo(String mapping) {
        check(mapping + " gradients.weights=nvfp4", "nvfp4");
    }

    /** Buffers of several buckets, of which every rank has a slice. */
    @ParameterizedTest
    @ValueSource(
            strings = {
                "world_size=2 gradients.format=fp32",
                "world_size=4 gradients.format=fp8",
                "world_size=4 tensor_parallel_size=2 gradients.format=bf16",
                "world_size=2 gradients.weights=nvfp4",
                "world_size=4 expert_parallel_size=2 gradients.weights=nvfp4",
            })
    void shardsOfManySlicesSendTheSame(String mapping) {
        String recipe = mapping.contains("nvfp4") ? "nvfp4" : "bf16";
        check(
                mapping + " gradients.overlap=true gradients.bucket_mib=1",
                recipe,
                "model.hidden_size=256",
                "model.vocab_size=1024",
                "model.ffn.intermediate_size=1040");
    }

    private void check(String mapping, String recipe, String... more) {
        TinyRun run = new TinyRun(folder)
                .readers(rank -> new SyntheticReader(TinyRun.SEQUENCE, TinyRun.VOCABULARY, 5, 0))
                .set("model.layers", 4)
                .set("model.moe.top_k", 4)
                .set("model.tie_embeddings", true)
                .set("model.attention.kv_heads", 2)
                .set("model.moe.shared_expert.intermediate_size", 16)
                .set("recipe.kind", recipe)
                .set("recipe.telemetry_every", 0)
                .set("train.global_batch_size", 8)
                .set("train.steps", 2);
        for (String setting : mapping.split(" ")) {
            String[] parts = setting.split("=", -1);
            run.set("parallel." + parts[0], parts[1]);
        }
        for (String setting : more) {
            String[] parts = setting.split("=", -1);
            run.set(parts[0], parts[1]);
        }
        int ranks = run.config().parallel().worldSize();
        List<RecordingSink> sinks = new ArrayList<>();
        for (int rank = 0; rank < ranks; rank++) {
            sinks.add(new RecordingSink());
            run.sink(rank, sinks.get(rank));
        }
        run.train();
        for (int rank = 0; rank < ranks; rank++) {
            RecordingSink sink = rank == 0 ? run.sink() : sinks.get(rank);
            assertThat(sink.steps()).hasSize(2);
            Map<String, Long> planned = planned(run, rank);
            for (StepMetrics step : sink.steps()) {
                assertThat(step.bytesSent()).as("rank %d", rank).isEqualTo(planned);
            }
        }
    }

    private static Map<String, Long> planned(TinyRun run, int rank) {
        Map<String, Long> planned = new TreeMap<>();
        for (Traffic traffic : Traffic.of(run.config(), rank)) {
            planned.put(traffic.axis().label(), traffic.bytes());
        }
        return planned;
    }
}
