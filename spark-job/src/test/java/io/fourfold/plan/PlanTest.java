package io.fourfold.plan;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.fourfold.config.ConfigLoader;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.parallel.Axis;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Objects;
import java.util.OptionalLong;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class PlanTest {
    private static final Path CONF = Path.of(System.getProperty("fourfold.root", ".."), "conf");

    private static FourfoldConfig load(String file, String... sets) {
        return ConfigLoader.load(List.of(CONF.resolve(file)), List.of(sets)).config();
    }

    /** Published sizes in units of 1e9; FLOPs in GFLOP a token at 4096 tokens, full and causal. */
    @ParameterizedTest
    @CsvSource({
        "mixtral-8x7b,        46.7, 12.9,  82.9,  79.7",
        "mixtral-8x22b,      140.6, 39.2, 250.6, 242.2",
        "mixtral-8x22b-g8t8, 140.6, 22.3, 149.1, 140.7",
        "qwen2-57b-a14b,      57.4, 14.2,  87.1,  84.7",
        "qwen3-30b-a3b,       30.5,  3.4,  27.8,  23.0",
        "llama3-8x70b,       465.0, 127.0, 787.0, 771.0",
    })
    void publishedModels(String name, double total, double active, double full, double causal) {
        FourfoldConfig config = load("model/" + name + ".yaml", "train.sequence_length=4096");
        ParameterCount parameters = ParameterCount.of(config.model());
        double digit = total > 400 ? 1.0 : 0.1;
        assertThat(parameters.total() / 1e9).isEqualTo(total, within(digit / 2));
        assertThat(parameters.active() / 1e9).isEqualTo(active, within(digit / 2));
        // The published counts leave the router out.
        long router = 6L
                * config.model().layers()
                * config.model().hiddenSize()
                * Objects.requireNonNull(config.model().moe()).experts();
        FlopCount flops = FlopCount.of(config.model(), 4096);
        assertThat((flops.full() - router) / 1e9).isEqualTo(full, within(digit));
        assertThat((flops.causal() - router) / 1e9).isEqualTo(causal, within(digit));
    }

    /** The same formula as an independent implementation, for a model with every factor different. */
    @Test
    void flopsOfTheBenchmarkModel() {
        FourfoldConfig config = load("model/moe-1b.yaml");
        long perLayer = 2L * 1024 * 1024 + 2L * 1024 * 256 + 1024 * 32 + 3L * 4 * 1024 * 512;
        long matmul = 16 * perLayer + 1024L * 50304;
        assertThat(ParameterCount.of(config.model()).activeMatmul()).isEqualTo(matmul);
        FlopCount flops = FlopCount.of(config.model(), 4096);
        assertThat(flops.causal()).isEqualTo(6 * matmul + 6L * 16 * 4096 * 1024);
        assertThat(flops.full()).isEqualTo(6 * matmul + 12L * 16 * 4096 * 1024);
    }

    @Test
    void denseModelAndTiedEmbedding() {
        ParameterCount dense =
                ParameterCount.of(load("model/nvfp4-1.2b-dense.yaml").model());
        assertThat(dense.total()).isEqualTo(dense.active());
        assertThat(dense.total() / 1e9).isEqualTo(1.29, within(0.01));
        assertThat(dense.experts()).isZero();
        ParameterCount tied = ParameterCount.of(
                load("model/nvfp4-1.2b-dense.yaml", "model.tie_embeddings=true").model());
        assertThat(tied.head()).isZero();
        assertThat(tied.total()).isEqualTo(dense.total() - dense.head());
        assertThat(tied.activeMatmul()).isEqualTo(dense.activeMatmul());
    }

    @Test
    void shareOfHighPrecisionWeights() {
        assertThat(share("recipe.kind=bf16")).isEqualTo(1.0);
        assertThat(share("recipe.kind=nvfp4")).isZero();
        assertThat(share("recipe.kind=nvfp4", "recipe.high_precision.last=5")).isEqualTo(0.25);
        assertThat(share("recipe.kind=nvfp4", "recipe.high_precision={first: 2, last: 3}"))
                .isEqualTo(0.25);
        double attention =
                (2048.0 * 2048 * 2 + 2048 * 1024 * 2) / (2048.0 * 2048 * 2 + 2048 * 1024 * 2 + 2 * 2048 * 6144);
        assertThat(share("recipe.kind=nvfp4", "recipe.high_precision.modules=[qkv, attention_output]"))
                .isEqualTo(attention, within(1e-12));
    }

    private static double share(String... sets) {
        return Plan.of(load("model/nvfp4-1.2b-dense.yaml", sets)).precision().highPrecisionShare();
    }

    @Test
    void ranksHoldTheWholeModelTogether() {
        FourfoldConfig config = load("run/mixtral-8x22b-128.yaml");
        Plan plan = Plan.of(config);
        assertThat(plan.ranks().mapping()).isEqualTo("W128 attention TP2 CP1 DP8 PP8 | MoE ETP1 EP8 EDP2 PP8");
        long expertRank = plan.parameters().experts() / (8 * 8);
        assertThat(plan.rankParameters()).isBetween(expertRank, expertRank + 800_000_000L);
        assertThat(plan.memory().weights()).isEqualTo(4 * plan.rankParameters());
        assertThat(plan.budget().microBatchesPerStep()).isEqualTo(256 / 8);
        assertThat(plan.ranks().groups()).anySatisfy(g -> {
            assertThat(g.axis()).isEqualTo(Axis.PP);
            assertThat(g.first()).startsWith(0, 16, 32);
            assertThat(g.leavingHost()).isEqualTo(16);
        });
        assertThat(plan.obstacles()).isEmpty();
        assertThat(plan.traffic().stream().map(Traffic::axis))
                .containsExactlyInAnyOrder(
                        Axis.DP, Axis.DP_CP, Axis.STAGE, Axis.EDP, Axis.EP, Axis.TP, Axis.TP_CP, Axis.PP);
    }

    @Test
    void codesOfWeightsTakeFewerBytesAndSomeMemory() {
        String[] sets = {
            "parallel={world_size: 4, expert_parallel_size: 2}",
            "train.global_batch_size=16",
            "recipe.high_precision.last=0",
            "parallel.gradients.weights=exact"
        };
        Plan exact = Plan.of(load("run/quickstart.yaml", sets));
        sets[3] = "parallel.gradients.weights=nvfp4";
        Plan coded = Plan.of(load("run/quickstart.yaml", sets));
        long codes = coded.memory().weights() - exact.memory().weights();
        long linear = RankShare.of(load("run/quickstart.yaml", sets), 0).linear();
        assertThat((double) codes / linear).isBetween(0.5, 0.52);
        assertThat(experts(coded).what()).contains("NVFP4 codes");
        assertThat((double) experts(coded).bytes() / experts(exact).bytes()).isBetween(0.56, 0.57);
    }

    private static Traffic experts(Plan plan) {
        return plan.traffic().stream()
                .filter(traffic -> traffic.axis() == Axis.EDP)
                .findFirst()
                .orElseThrow();
    }

    @Test
    void memoryAndTrafficOfTwoRanks() {
        Plan one = Plan.of(load("run/quickstart.yaml", "parallel={world_size: 1, expert_parallel_size: 1}"));
        Plan two = Plan.of(load("run/quickstart.yaml", "train.global_batch_size=16"));
        assertThat(one.traffic()).isEmpty();
        long experts = one.parameters().experts();
        long dense = one.parameters().total() - experts;
        assertThat(one.memory().weights()).isEqualTo(4 * one.parameters().total());
        assertThat(one.memory().optimizer()).isEqualTo(8 * one.parameters().total());
        assertThat(two.memory().weights()).isEqualTo(4 * (dense + experts / 2));
        assertThat(two.memory().optimizer()).isEqualTo(8 * (dense / 2 + experts / 2));
        assertThat(two.traffic()).extracting(Traffic::axis).containsExactly(Axis.DP, Axis.DP_CP, Axis.STAGE, Axis.EP);
        // Half of the gradients go out, half of the weights come as the other's; EDP is 1. Padding included.
        RankShare share = RankShare.of(load("run/quickstart.yaml"), 0);
        assertThat(share.dense() + share.replicated()).isEqualTo(dense);
        assertThat(two.traffic().get(1).bytes()).isBetween(4 * share.dense(), 4 * (share.dense() + 31));
        // 4 layers, 2048 tokens a rank and step with 2 of 8 experts each; a rank has 4 and none of them with 4 * 3 / (8
        // * 7).
        // 4 passes of 256 BF16 values, 2 experts, 2 weights and their gradients, a row id; and 2 counts for each rank
        // in each of
        // 2 micro-batches.
        long leaving = Math.round(1024 * 2 * (1 - 4.0 * 3 / (8 * 7)) * (4 * 256 * 2 + 7 * 4)) + 2 * 2 * 4;
        assertThat(two.traffic().get(3).bytes()).isEqualTo(4L * 2 * (leaving / 2));
        Plan slots = Plan.of(load("run/quickstart.yaml", "train.global_batch_size=16", "parallel.dispatch_unit=slot"));
        // 2 slots for each token, half of them leave, three words each; counts of 8 experts.
        assertThat(slots.traffic().get(3).bytes())
                .isEqualTo(4L * 2048 * 2 / 2 * (4 * 256 * 2 + 12) + 4L * 2 * 8 * 4 / 2);
    }

    @Test
    void budgetAndEpochs() {
        FourfoldConfig config = load("run/quickstart.yaml", "train.steps=100", "train.global_batch_size=16");
        Plan unknown = Plan.of(config);
        assertThat(unknown.budget().epochs()).isNull();
        assertThat(PlanText.of(unknown)).contains("unknown until the data is prepared");
        Plan known = Plan.of(config, 8, OptionalLong.of(204_800));
        assertThat(known.budget().tokensPerStep()).isEqualTo(4096);
        assertThat(known.budget().tokens()).isEqualTo(409_600);
        assertThat(known.budget().epochs()).isEqualTo(2.0);
        assertThat(known.flops()).isEqualTo(409_600.0 * known.flopsPerToken().causal());
    }

    @Test
    void jsonHasWhatTheTextHas() throws Exception {
        Plan plan = Plan.of(load("run/quickstart.yaml"));
        JsonNode json = new ObjectMapper().readTree(PlanJson.text(plan));
        assertThat(json.path("config_sha256").asText())
                .isEqualTo(plan.configSha256())
                .hasSize(64);
        assertThat(json.path("parameters").path("total").asLong())
                .isEqualTo(plan.parameters().total());
        assertThat(json.path("memory").path("total").asLong())
                .isEqualTo(plan.memory().total());
        assertThat(json.path("ranks").path("groups").get(0).path("axis").asText())
                .isEqualTo("DP");
        assertThat(json.path("flops_per_token").path("causal_formula").asText()).contains("6 N_active");
        assertThat(PlanText.of(plan)).contains("Model quickstart-moe", "nvfp4;", "W2 attention", "Sent by one rank");
    }

    @Test
    void preflightRefusesWhatCannotBeTrained() {
        assertThatCode(() -> Preflight.check(load("run/quickstart.yaml"))).doesNotThrowAnyException();
        assertThatThrownBy(() -> Preflight.check(load("model/mixtral-8x7b.yaml")))
                .hasMessageContaining("one buffer of the CPU backend holds at most 2^31 - 1")
                .hasMessageContaining("raise expert_parallel_size");
        assertThatThrownBy(() -> Preflight.check(load("run/quickstart.yaml"), 2, 10 << 20))
                .hasMessageContaining("model quickstart-moe needs about")
                .hasMessageContaining("for 2 ranks in one process, and there are 10.0 MiB");
    }

    @Test
    void everyRunFilePlans() throws Exception {
        try (Stream<Path> files = Files.list(CONF.resolve("run"))) {
            for (Path file : files.toList()) {
                assertThat(PlanText.of(Plan.of(load("run/" + file.getFileName()))))
                        .contains("Model ");
            }
        }
    }

    @Test
    void readableQuantities() {
        assertThat(Quantities.bytes(1536)).isEqualTo("1.5 KiB");
        assertThat(Quantities.bytes(12)).isEqualTo("12 B");
        assertThat(Quantities.count(46_702_792_704L)).isEqualTo("46.70 B");
        assertThat(Quantities.count(999)).isEqualTo("999");
        assertThat(Quantities.flops(2.5e21)).isEqualTo("2.50 ZFLOP");
        assertThat(Quantities.percent(0.1553)).isEqualTo("15.5%");
    }
}
