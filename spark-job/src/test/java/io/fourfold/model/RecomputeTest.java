package io.fourfold.model;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.Batch;
import io.fourfold.kernels.op.QuantStats;
import io.fourfold.model.RankGroup.StepResult;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Computing again instead of keeping changes no bit of anything. */
class RecomputeTest {
    private static final String[] MODEL = {
        "model.layers=3",
        "model.hidden_size=32",
        "model.attention={heads: 4, kv_heads: 2, head_dim: 8, qk_norm: true, qkv_bias: true}",
        "model.ffn={intermediate_size: 32}",
        "model.moe={experts: 4, top_k: 2, intermediate_size: 32, dense_layers: [1], shared_expert: {intermediate_size: 32, gated: true}, capacity: {factor: 0.9}}",
        "model.moe.router.score=sigmoid",
        "model.moe.router.normalize=true",
        "model.moe.router.bias_update_rate=0.01",
        "model.moe.router.aux_loss_coeff=0.2",
        "model.moe.router.z_loss_coeff=0.05",
        "train.sequence_length=32",
        "train.micro_batch_size=2",
    };

    private record Everything(
            double loss,
            double aux,
            double z,
            long dropped,
            Map<String, List<Float>> gradients,
            List<Integer> load,
            Map<String, QuantStats> telemetry) {}

    @ParameterizedTest
    @ValueSource(
            strings = {
                "fp32 norm",
                "fp32 activation",
                "fp32 dispatch",
                "fp32 attention",
                "fp32 expert",
                "fp32 block",
                "bf16 norm,activation",
                "bf16 attention,expert",
                "nvfp4 norm",
                "nvfp4 activation",
                "nvfp4 dispatch",
                "nvfp4 norm,dispatch",
                "nvfp4 attention",
                "nvfp4 expert",
                "nvfp4 block",
                "nvfp4 norm,activation,attention",
                "nvfp4 norm,activation,attention,expert,block",
            })
    void changesNoBit(String what) {
        String[] words = what.split(" ");
        long[] keptAll = new long[1];
        long[] keptSome = new long[1];
        Everything expected = step(words[0], "", keptAll);
        Everything actual = step(words[0], words[1], keptSome);
        assertThat(actual).isEqualTo(expected);
        assertThat(keptSome[0]).as("activation bytes").isLessThan(keptAll[0]);
    }

    private static Everything step(String recipe, String recompute, long[] bytes) {
        FourfoldConfig config = TinyModels.config(with("recipe.kind=" + recipe, "train.recompute=[" + recompute + "]"));
        Batch batch = TinyModels.batch(config, 2, 5);
        try (SingleRank rank = new SingleRank(config)) {
            QuantizationTelemetry telemetry = new QuantizationTelemetry();
            StepContext step = new StepContext(1, 99, 1.0 / batch.labelCount(), 4, telemetry);
            rank.model.beginStep(step);
            MicroBatchResult first = rank.model.forwardBackward(batch, step);
            MicroBatchResult second = rank.model.forwardBackward(TinyModels.batch(config, 2, 6), step);
            Map<String, List<Float>> gradients = new TreeMap<>();
            for (Parameter parameter : rank.model.parameters().parameters()) {
                List<Float> values = new ArrayList<>();
                for (float value : rank.backend.download(parameter.grad())) {
                    values.add(value);
                }
                gradients.put(parameter.name(), values);
            }
            bytes[0] = rank.model.activationBytes();
            List<Integer> load = new ArrayList<>();
            double loss = first.lossSum() + second.lossSum();
            double aux = first.auxLoss() + second.auxLoss();
            double z = first.zLoss() + second.zLoss();
            long dropped = first.droppedSlots() + second.droppedSlots();
            rank.model.endStep().forEach(layer -> Arrays.stream(layer.tokens()).forEach(load::add));
            return new Everything(loss, aux, z, dropped, gradients, load, new LinkedHashMap<>(telemetry.statistics()));
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"norm, activation, block", "norm, activation, dispatch"})
    void ranksComputeAgainTogether(String modules) throws InterruptedException {
        String[] mapping = {
            "parallel.world_size=4", "parallel.pipeline_parallel_size=2", "parallel.expert_parallel_size=2"
        };
        FourfoldConfig keeping = TinyModels.config(with(mapping));
        FourfoldConfig again = TinyModels.config(with(append(mapping, "train.recompute=[" + modules + "]")));
        Batch batch = TinyModels.batch(keeping, 8, 5);
        StepResult expected = RankGroup.step(keeping, batch);
        StepResult actual = RankGroup.step(again, batch);
        assertThat(actual.loss()).isEqualTo(expected.loss());
        assertThat(actual.gradients().keySet()).isEqualTo(expected.gradients().keySet());
        expected.weights()
                .forEach((name, values) ->
                        assertThat(actual.weights().get(name)).as(name).isEqualTo(values));
    }

    private static String[] with(String... settings) {
        return append(MODEL, settings);
    }

    private static String[] append(String[] first, String... second) {
        List<String> all = new ArrayList<>(Arrays.asList(first));
        all.addAll(Arrays.asList(second));
        return all.toArray(String[]::new);
    }
}
