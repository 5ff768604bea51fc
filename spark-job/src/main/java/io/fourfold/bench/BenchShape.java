package io.fourfold.bench;

import io.fourfold.config.ConfigLoader;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.ParallelConfig;
import io.fourfold.config.RecipeConfig;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/**
 * The models that whole steps are measured on. S, M and Q are the shapes of docs/benchmarks.md: a small fine-grained MoE,
 * two blocks of Mixtral 8x7B, four blocks of Qwen3-30B-A3B; T is small enough for a CPU.
 */
public enum BenchShape {
    S(
            "moe-1b",
            8,
            4096,
            "layers=16",
            "hidden_size=1024",
            "vocab_size=50304",
            "attention={heads: 16, kv_heads: 4, head_dim: 64, rope_theta: 10000}",
            "moe={experts: 32, top_k: 4, intermediate_size: 512}"),
    M(
            "mixtral8x7b-slice",
            4,
            4096,
            "layers=2",
            "hidden_size=4096",
            "vocab_size=32000",
            "attention={heads: 32, kv_heads: 8, head_dim: 128, rope_theta: 1000000}",
            "moe={experts: 8, top_k: 2, intermediate_size: 14336}"),
    Q(
            "qwen3-30b-a3b-slice",
            4,
            4096,
            "layers=4",
            "hidden_size=2048",
            "vocab_size=151936",
            "attention={heads: 32, kv_heads: 4, head_dim: 128, rope_theta: 1000000, qk_norm: true}",
            "moe={experts: 128, top_k: 8, intermediate_size: 768}"),
    T(
            "tiny-test",
            2,
            128,
            "layers=2",
            "hidden_size=128",
            "vocab_size=512",
            "attention={heads: 4, kv_heads: 2, head_dim: 32, rope_theta: 10000, qk_norm: true}",
            "moe={experts: 8, top_k: 2, intermediate_size: 64}");

    private static final String WORLD_SIZE = "parallel.world_size=";
    private static final int BATCH_OF_RANK = 1 << 12;

    private final String model;
    private final int microBatch;
    private final int sequence;
    private final String[] settings;

    BenchShape(String model, int microBatch, int sequence, String... settings) {
        this.model = model;
        this.microBatch = microBatch;
        this.sequence = sequence;
        this.settings = settings;
    }

    /** Name of the model. */
    public String model() {
        return model;
    }

    /**
     * The training configuration on one rank: softmax router with normalized weights and without auxiliary losses, AdamW
     * with clipping.
     *
     * @param microBatches micro-batches of one step
     */
    public FourfoldConfig config(RecipeConfig.Kind recipe, int microBatches, boolean cuda) {
        return config(recipe, microBatches, cuda, List.of());
    }

    /**
     * The training configuration of several ranks, each of which holds as many tokens as the one rank of the other form:
     * samples that ranks share are more in a micro-batch, micro-batches that stages share are more in a step.
     *
     * @param settings {@code key=value}, the mapping among them
     */
    public FourfoldConfig config(RecipeConfig.Kind recipe, int microBatches, boolean cuda, List<String> settings) {
        // Any batch that every mapping divides will do to read the mapping, and these divide the number of ranks.
        ParallelConfig mapping = ConfigLoader.load(
                        List.of(), sets(recipe, 1, BATCH_OF_RANK * worldSize(settings), cuda, settings))
                .config()
                .parallel();
        int sharing = mapping.tensorParallelSize() * mapping.contextParallelSize();
        int data = mapping.worldSize() / sharing / mapping.pipelineParallelSize();
        int inStep = microBatches * mapping.pipelineParallelSize();
        return ConfigLoader.load(
                        List.of(),
                        sets(recipe, microBatch * sharing, microBatch * sharing * inStep * data, cuda, settings))
                .config();
    }

    /** The last one given; 1 where it is none at all, which the configuration's own rules say better. */
    private static int worldSize(List<String> settings) {
        int size = 1;
        for (String setting : settings) {
            String value = setting.startsWith(WORLD_SIZE) ? setting.substring(WORLD_SIZE.length()) : "";
            size = value.matches("[1-9]\\d{0,4}") ? Integer.parseInt(value) : size;
        }
        return size;
    }

    private List<String> sets(RecipeConfig.Kind recipe, int micro, int global, boolean cuda, List<String> settings) {
        List<String> sets = new ArrayList<>();
        sets.add("model.name=" + model);
        for (String setting : this.settings) {
            sets.add("model." + setting);
        }
        sets.add("model.moe.router.aux_loss_coeff=0");
        sets.add("recipe.kind=" + recipe.name().toLowerCase(Locale.ROOT));
        sets.add("recipe.telemetry_every=0");
        if (cuda) {
            sets.add("recipe.fp8_scaling=tensor"); // its dense products are the matrix library's
        }
        sets.add("train.sequence_length=" + sequence);
        sets.add("train.micro_batch_size=" + micro);
        sets.add("train.global_batch_size=" + global);
        sets.add("run.backend=" + (cuda ? "cuda" : "cpu"));
        sets.addAll(settings);
        return sets;
    }
}
