package io.fourfold.config;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Each impossible combination on its own: what is set, the key blamed and a piece of the rule. */
class ConfigRulesTest {
    private static final Path MOE =
            Path.of(System.getProperty("fourfold.root", ".."), "conf", "model", "quickstart-moe.yaml");

    private static List<Problem> problems(String... sets) {
        List<String> all = new ArrayList<>(List.of("model.family=none"));
        all.addAll(List.of(sets));
        ConfigException refused =
                catchThrowableOfType(ConfigException.class, () -> ConfigLoader.load(List.of(MOE), all));
        return refused == null ? ConfigLoader.load(List.of(MOE), all).warnings() : refused.problems();
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "model.attention.kv_heads=3 | model.attention.kv_heads | must divide heads (4) | use 2",
                "model.vocab_size=2_000_000_000 model.hidden_size=2_000_000_000 | model | about 8.0e+18 parameters | typing error",
                "model.attention={heads: 100000, kv_heads: 100000, head_dim: 100000} | model | the model would have | typing",
                "parallel={world_size: 8, tensor_parallel_size: 2_000_000_000, context_parallel_size: 2_000_000_000} | parallel.world_size | multiple of 4000000000000000000 | lower a degree",
                "model.attention.head_dim=33 | model.attention.head_dim | must be even | use 34",
                "model.moe.dense_layers=[1] | model.ffn | 1 of 4 blocks have no experts | add model.ffn",
                "model.moe.layer_step=2 | model.ffn | 2 of 4 blocks have no experts | layer_step to 1",
                "model.moe=null | model.ffn | 4 of 4 blocks have no experts | or model.moe",
                "model.moe.dense_layers=[4] | model.moe.dense_layers | block indices 0..3 | from 0",
                "model.moe.top_k=9 | model.moe.top_k | must not exceed experts (8) | at most 8",
                "model.moe.router.groups=3 | model.moe.router.groups | must divide experts (8) | use 2",
                "model.moe.router.group_top_k=2 | model.moe.router.group_top_k | must not exceed groups (1) | at most 1",
                "model.moe.router={groups: 8, group_top_k: 1} | model.moe.router.group_top_k | fit into a group of 1 | change",
                "model.moe.router.scale=0 | model.moe.router.scale | must be above 0 | 1.0",
                "model.moe.capacity={factor: 0} | model.moe.capacity.factor | drop every token | remove capacity",
                "recipe.high_precision={first: 3, last: 2} | recipe.high_precision | first (3) + last (2) must not exceed | lower",
                "recipe.high_precision.modules=[qvk] | recipe.high_precision.modules | kinds of linear layers | mean qkv",
                "parallel.gradients.weights=nvfp4 | parallel.gradients.weights | the recipe is bf16 | exact",
                "parallel.gradients.weights=nvfp4 recipe={kind: nvfp4, weight2d: false} | parallel.gradients.weights | with weight2d | exact",
                "parallel.world_size=3 | train.global_batch_size | multiple of 3 = data parallel ranks (3) | use 6 or 9",
                "parallel={world_size: 4, expert_parallel_size: 4, tensor_parallel_size: 4} | parallel.tensor_parallel_size | must divide model.attention.kv_heads (2) | use 2",
                "parallel={world_size: 16, expert_parallel_size: 16} | parallel.expert_parallel_size | must divide model.moe.experts (8) | use 8",
                "parallel={world_size: 8, pipeline_parallel_size: 8} | parallel.pipeline_parallel_size | 4 blocks for 8 pipeline chunks | lower",
                "parallel={world_size: 2, tensor_parallel_size: 2} recipe.kind=nvfp4 model.attention={heads: 4, kv_heads: 2, head_dim: 8} | parallel.tensor_parallel_size | splits model.attention.kv_heads * head_dim (16) into parts of 8 | multiples of 16",
                "parallel={world_size: 2, context_parallel_size: 2} recipe.kind=nvfp4 train.sequence_length=32 | parallel.context_parallel_size | splits train.sequence_length (32) into parts of 8 | multiples of 16",
                "parallel={world_size: 2, expert_tensor_parallel_size: 2} recipe.kind=nvfp4 model.moe.intermediate_size=80 | parallel.expert_tensor_parallel_size | parts of 40, no multiple of the blocks of 16 | multiples of 16",
                "parallel={world_size: 3, context_parallel_size: 3} | train.sequence_length | must be a multiple of 6 | use 1026",
                "train.global_batch_size=5 train.micro_batch_size=2 | train.global_batch_size | multiple of 2 | use 4 or 6",
                "train.sequence_length=2048 | train.sequence_length | must not exceed model.max_positions (1024) | raise",
                "train.optimizer.learning_rate=1e-9 | train.optimizer.min_learning_rate | must not exceed learning_rate | 1%",
                "train.optimizer.beta2=1 | train.optimizer.beta2 | must be below 1 | 0.95",
                "train.optimizer.epsilon=0 | train.optimizer.epsilon | must be above 0 | 1.0e-8",
                "data.sources={a b: [x]} | data.sources.a b | becomes a folder | rename",
                "data.sources={a: []} | data.sources.a | has no files | list",
                "data.blend={a: -1.0} | data.blend.a | not be negative | use 0",
                "data.blend={a: 0.0} | data.blend | all weights are 0 | at least one",
                "data.sources={books: [x]} data.blend={boks: 1.0} | data.blend.boks | not among data.sources | mean books",
            })
    void impossible(String sets, String key, String rule, String fix) {
        List<Problem> problems = problems(split(sets));
        assertThat(problems).anySatisfy(problem -> {
            assertThat(problem.key()).isEqualTo(key);
            assertThat(problem.rule()).contains(rule);
            assertThat(problem.fix()).contains(fix);
            assertThat(problem.isError()).isTrue();
            assertThat(problem.where()).isNotEmpty();
        });
    }

    /** Settings are separated by spaces that are followed by a section's name. */
    private static String[] split(String sets) {
        return sets.split(" (?=(?:model|recipe|parallel|data|train|run)[.=])");
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "model.ffn={intermediate_size: 64} | model.ffn | is not used",
                "model.moe.router={score: top_k_softmax, normalize: true} | model.moe.router.normalize | has no effect",
                "model.moe.router={bias_update_rate: 0.001, aux_loss_coeff: 0.1} | model.moe.router.aux_loss_coeff | is large",
                "recipe.high_precision.last=1 | recipe.high_precision | has no effect with recipe bf16",
                "recipe.late_switch.step=50 | recipe.late_switch.step | no low-precision GEMM",
                "recipe={kind: nvfp4, late_switch: {step: 500}} | recipe.late_switch.step | is never reached",
                "train.schedule.warmup_steps=200 | train.schedule.warmup_steps | the whole run is warm-up",
                "train.schedule={warmup_steps: 90, decay_fraction: 0.2} | train.schedule.decay_fraction | is shortened",
                "recipe.kind=mxfp4 model.moe.intermediate_size=80 | model.moe.intermediate_size | no multiple of 32",
                "recipe.kind=nvfp4 model.hidden_size=200 | model.hidden_size | no multiple of 16",
                "data={document_mask: false, reset_positions: true} | data.reset_positions | crosses documents",
            })
    void questionable(String sets, String key, String rule) {
        assertThat(problems(split(sets))).singleElement().satisfies(problem -> {
            assertThat(problem.key()).isEqualTo(key);
            assertThat(problem.rule()).contains(rule);
            assertThat(problem.isError()).isFalse();
        });
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "mixtral | model.moe.router.score,model.attention.qk_norm",
                "qwen2_moe | model.moe.shared_expert,model.attention.qk_norm",
                "qwen3_moe | ''",
            })
    void familyPromisesAnExport(String family, String keys) {
        List<String> found =
                problems("model.family=" + family).stream().map(Problem::key).toList();
        assertThat(String.join(",", found)).isEqualTo(keys);
    }

    @Test
    void aDenseModelHasNoExpertsToSplit() {
        assertThat(problems(
                        "model.moe=null",
                        "model.ffn.intermediate_size=64",
                        "parallel={world_size: 2, expert_parallel_size: 2}"))
                .singleElement()
                .extracting(Problem::rule)
                .isEqualTo("a dense model has no experts to split");
    }

    @Test
    void whatDoesNotFitTheWorldAndTheModelIsSaidAtOnce() {
        List<Problem> problems =
                problems("parallel={world_size: 2, expert_parallel_size: 3, pipeline_parallel_size: 5}");
        assertThat(problems)
                .extracting(Problem::key)
                .containsExactly(
                        "parallel.world_size",
                        "parallel.world_size",
                        "parallel.expert_parallel_size",
                        "parallel.pipeline_parallel_size");
        assertThat(problems.get(1).rule()).contains("must be a multiple of 15");
        assertThat(problems.get(2).rule()).isEqualTo("must divide model.moe.experts (8)");
        assertThat(problems.get(3).rule()).contains("4 blocks for 5 pipeline chunks");
    }

    @Test
    void problemsNameThePlaceOfTheirKeyOrOfTheSectionAround() {
        assertThat(problems("parallel.world_size=3"))
                .singleElement()
                .extracting(Problem::where)
                .isEqualTo("default");
        assertThat(problems("model.moe={dense_layers: [0]}"))
                .singleElement()
                .extracting(Problem::where)
                .isEqualTo("default");
        assertThat(problems("train.global_batch_size=5", "train.micro_batch_size=2"))
                .singleElement()
                .extracting(Problem::where)
                .isEqualTo("--set train.global_batch_size=5");
    }

    @Test
    void limitsOfThisVersionDoNotStopALoad() {
        assertThatCode(() ->
                        ConfigLoader.load(List.of(MOE), List.of("parallel={world_size: 2, tensor_parallel_size: 2}")))
                .doesNotThrowAnyException();
    }
}
