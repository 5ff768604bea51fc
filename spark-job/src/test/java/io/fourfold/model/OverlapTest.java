package io.fourfold.model;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.Batch;
import io.fourfold.kernels.cpu.CpuBackend;
import io.fourfold.model.RankGroup.Devices;
import io.fourfold.model.RankGroup.StepResult;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What runs beside exchanges, and that it neither needs what they bring nor touches what they take. */
class OverlapTest {
    private static final String[] MODEL = {
        "model.layers=2",
        "model.hidden_size=64",
        "model.vocab_size=32",
        "model.attention={heads: 4, kv_heads: 4, head_dim: 16, qkv_bias: true}",
        "model.ffn={intermediate_size: 64}",
        "model.moe={experts: 8, top_k: 2, intermediate_size: 32, dense_layers: [0]}",
        "model.moe.shared_expert={intermediate_size: 64, gated: true}",
        "train.sequence_length=64",
        "train.global_batch_size=4",
        "train.micro_batch_size=2",
    };

    @ParameterizedTest
    @CsvSource({
        "fp32, W2 EP2, ''",
        "bf16, W2 EP2, ''",
        "nvfp4, W2 EP2, ''",
        "fp32, W2 TP2, ''",
        "bf16, W2 TP2, ''",
        "nvfp4, W2 TP2, ''",
        "bf16, W2 TP2, 'train.micro_batch_size=1'",
        "bf16, W2 TP2, 'model.attention={heads: 4, kv_heads: 4, head_dim: 16, qk_norm: true}'",
        "bf16, W4 TP4, ''",
        "bf16, W4 TP4, 'train.micro_batch_size=4'",
        "bf16, W4 TP2 CP2, ''",
        "bf16, W4 TP2 EP4, ''",
        "bf16, W4 TP2 ETP2, ''",
        "bf16, W4 TP2 EP2, 'train.recompute=[norm, activation, dispatch]'",
        "bf16, W4 TP2 EP4, 'train.recompute=[attention, expert]'",
    })
    void whenExchangesHappenChangesNoBit(String recipe, String mapping, String setting) throws Exception {
        String[] settings = setting.isEmpty() ? new String[0] : new String[] {setting};
        FourfoldConfig config = config(recipe, mapping, settings);
        Batch batch = TinyModels.batch(config, 4, 3);
        StepResult early = RankGroup.step(config, batch);
        StepResult late = late(config, batch, new ArrayList<>());
        assertThat(late.loss()).isEqualTo(early.loss()).isFinite();
        assertThat(late.gradientNorm()).isEqualTo(early.gradientNorm());
        assertThat(late.load()).usingRecursiveComparison().isEqualTo(early.load());
        assertThat(late.weights().keySet()).isEqualTo(early.weights().keySet());
        late.weights()
                .forEach((name, values) ->
                        assertThat(values).as(name).isEqualTo(early.weights().get(name)));
    }

    /** The shared expert's two products forward and four backward, and beside each the experts' products of own tokens. */
    @Test
    void sharedExpertsWorkWhileTokensAndTheirGradientsTravel() throws Exception {
        List<String> spans = spans("ep", "bf16", "W2 EP2", 2);
        assertThat(spans)
                .containsExactly(
                        "multiply multiply multiply multiplyGroupedPart", // gate, up, down, FC1
                        "multiplyGroupedPart", // FC2
                        "multiply multiply multiply multiply multiplyGroupedPart", // down and up, FC2
                        "multiplyGroupedPart", // FC1, tokens
                        "multiplyGroupedPart"); // FC1, weights
    }

    @Test
    void tensorParallelLayersMultiplyWhileRowsTravel() throws Exception {
        List<String> spans = spans("tp", "bf16", "W2 TP2", 4);
        assertThat(spans)
                .containsExactly(
                        "multiplyRows attention forward", // query, key and value
                        "attention forward multiplyRows", // attention output
                        "multiplyRows", // shared expert, up
                        "multiplyRows", // down
                        "multiplyRows", // down, rows
                        "multiply multiply", // down and up, weights
                        "multiplyRows", // attention output, rows
                        "multiply multiply"); // attention output, query, key and value, weights
    }

    /** Quantized operands are made of all rows; sums of input gradients need none. */
    @Test
    void quantizedLayersMultiplyWeightGradientsWhileSumsTravel() throws Exception {
        assertThat(spans("tp", "nvfp4", "W2 TP2", 4)).containsExactly("multiply multiply", "multiply multiply");
    }

    /** The products between the start and the end of each exchange of a group, in one block with one micro-batch. */
    private static List<String> spans(String group, String recipe, String mapping, int samples) throws Exception {
        FourfoldConfig config = config(
                recipe, mapping, "model.layers=1", "model.moe.dense_layers=[]", "train.micro_batch_size=" + samples);
        List<String> events = new ArrayList<>();
        StepResult unused = late(config, TinyModels.batch(config, 4, 3), events);
        List<String> spans = new ArrayList<>();
        List<Integer> open = new ArrayList<>();
        for (int i = 0; i < events.size(); i++) {
            if (events.get(i).equals("start " + group)) {
                open.add(i);
            } else if (events.get(i).equals("await " + group)) {
                List<String> within = events.subList(open.remove(0), i);
                spans.add(String.join(
                        " ",
                        within.stream().filter(event -> !event.endsWith(group)).toList()));
            }
        }
        assertThat(open).isEmpty();
        return spans;
    }

    /**
     * @param events of the first rank
     */
    private static StepResult late(FourfoldConfig config, Batch batch, List<String> events) throws Exception {
        return RankGroup.step(config, batch, SingleRank.step(batch), world -> {
            List<String> own = world.rank() == 0 ? events : Collections.synchronizedList(new ArrayList<>());
            return new Devices(LateExchanges.backend(new CpuBackend(1), own), LateExchanges.world(world, own));
        });
    }

    private static FourfoldConfig config(String recipe, String mapping, String... more) {
        return TinyModels.config(Stream.of(
                        Stream.of(MODEL),
                        Stream.of("recipe.kind=" + recipe),
                        Stream.of(LawMappings.settings(mapping)),
                        Stream.of(more))
                .flatMap(settings -> settings)
                .toArray(String[]::new));
    }
}
