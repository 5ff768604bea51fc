package io.fourfold.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.Batch;
import io.fourfold.kernels.op.AdamWStep;
import io.fourfold.kernels.op.QuantStats;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.assertj.core.data.Offset;
import org.assertj.core.data.Percentage;
import org.junit.jupiter.api.Test;

class MoeTransformerTest {
    private static final String[] QUANTIZABLE = {
        "model.hidden_size=32",
        "model.init_std=0.1",
        "model.attention={heads: 4, kv_heads: 2, head_dim: 8}",
        "model.moe.intermediate_size=32",
        "train.sequence_length=32"
    };

    @Test
    void twoRunsAreBitIdentical() {
        FourfoldConfig config = quantizable("recipe.kind=nvfp4");
        Batch batch = TinyModels.batch(config, 2, 1);
        assertThat(trainingLosses(config, batch, 5)).isEqualTo(trainingLosses(config, batch, 5));
    }

    /** Mean loss while the model learns two sequences by heart: fp32, bf16 and fp8 alike, FP4 close behind. */
    @Test
    void lowPrecisionLearnsLikeBf16() {
        Batch batch = TinyModels.batch(quantizable(), 2, 1);
        double bf16 = meanLoss("bf16", batch);
        assertThat(bf16).isLessThan(0.4 * Math.log(23));
        assertThat(meanLoss("fp32", batch)).isCloseTo(bf16, Percentage.withPercentage(1.5));
        assertThat(meanLoss("fp8", batch)).isCloseTo(bf16, Percentage.withPercentage(2.5));
        assertThat(meanLoss("nvfp4", batch)).isCloseTo(bf16, Percentage.withPercentage(15));
        assertThat(meanLoss("mxfp4", batch)).isCloseTo(bf16, Percentage.withPercentage(20));
    }

    private static double meanLoss(String kind, Batch batch) {
        return Arrays.stream(trainingLosses(quantizable("recipe.kind=" + kind), batch, 24))
                .average()
                .orElseThrow();
    }

    @Test
    void evaluationAgreesWithTheTrainingForward() {
        for (String kind : List.of("fp32", "bf16", "nvfp4")) {
            FourfoldConfig config = quantizable("recipe.kind=" + kind);
            Batch batch = TinyModels.batch(config, 2, 1);
            try (SingleRank rank = new SingleRank(config)) {
                double trained = rank.run(batch).lossSum();
                assertThat(rank.model.evaluate(batch)).as(kind).isEqualTo(trained);
                rank.model.endStep();
                assertThat(rank.model.evaluate(batch))
                        .as(kind + " prepared anew")
                        .isEqualTo(trained);
            }
        }
    }

    @Test
    void logitsGiveTheLoss() {
        FourfoldConfig config = TinyModels.config();
        try (SingleRank rank = new SingleRank(config)) {
            int[] tokens = {3, 1, 4, 1, 5, 9};
            int[] labels = {1, 4, 1, 5, 9, 2};
            int[] positions = {0, 1, 2, 3, 4, 5};
            Batch batch = new Batch(1, 6, tokens, labels, new int[6], positions, positions);
            float[] logits = rank.model.logits(tokens);
            int vocab = config.model().vocabSize();
            double loss = 0;
            for (int t = 0; t < tokens.length; t++) {
                double sum = 0;
                for (int v = 0; v < vocab; v++) {
                    sum += Math.exp(logits[t * vocab + v]);
                }
                loss += Math.log(sum) - logits[t * vocab + labels[t]];
            }
            assertThat(rank.model.evaluate(batch)).isCloseTo(loss, Offset.offset(1e-4));
            assertThat(rank.model.lastLogits(tokens, EvaluationPrecision.RECIPE))
                    .containsExactly(Arrays.copyOfRange(logits, 5 * vocab, 6 * vocab), Offset.offset(1e-5f));
        }
    }

    @Test
    void unquantizedEvaluationIgnoresTheRecipe() {
        FourfoldConfig nvfp4 = quantizable("recipe.kind=nvfp4");
        Batch batch = TinyModels.batch(nvfp4, 2, 1);
        try (SingleRank low = new SingleRank(nvfp4);
                SingleRank high = new SingleRank(quantizable("recipe.kind=bf16"))) {
            assertThat(low.model.evaluate(batch, EvaluationPrecision.UNQUANTIZED))
                    .isEqualTo(high.model.evaluate(batch))
                    .isNotEqualTo(low.model.evaluate(batch));
        }
    }

    @Test
    void telemetryNamesEveryQuantizedOperand() {
        FourfoldConfig config = quantizable("recipe.kind=nvfp4", "recipe.high_precision.last=1");
        Batch batch = TinyModels.batch(config, 2, 1);
        QuantizationTelemetry telemetry = new QuantizationTelemetry();
        StepContext step = new StepContext(1, 9, 0.01, 2, telemetry);
        try (SingleRank rank = new SingleRank(config)) {
            rank.model.beginStep(step);
            MicroBatchResult unused = rank.model.forwardBackward(batch, step);
        }
        Map<String, QuantStats> statistics = telemetry.statistics();
        List<String> expected = new ArrayList<>();
        for (String linear : List.of("qkv", "attention_output", "expert_up", "expert_down")) {
            for (String operand : List.of("fprop.x", "fprop.w", "dgrad.dy", "dgrad.w", "wgrad.dy", "wgrad.x")) {
                expected.add("layers.0." + linear + "." + operand);
            }
        }
        assertThat(statistics.keySet()).containsExactlyInAnyOrderElementsOf(expected);
        assertThat(TinyModels.entry(statistics, "layers.0.qkv.fprop.x").elements())
                .isEqualTo(64 * 32);
        assertThat(TinyModels.entry(statistics, "layers.0.expert_up.fprop.x").elements())
                .isEqualTo(64 * 2 * 32);
        assertThat(TinyModels.entry(statistics, "layers.0.qkv.fprop.x").sqnrDb())
                .isBetween(10.0, 40.0);
    }

    @Test
    void theFirstNonFiniteTensorIsNamed() {
        FourfoldConfig config = TinyModels.config();
        Batch batch = TinyModels.batch(config, 2, 1);
        try (SingleRank rank = new SingleRank(config)) {
            StepContext step = SingleRank.step(batch);
            assertThat(rank.model.locate(batch, step)).isEmpty();
            // Large but finite weights overflow in the second block's attention output.
            Parameter output = rank.model.parameters().get("layers.1.attention.o");
            rank.backend.elementwise().fill(output.weight(), 3e38f);
            Optional<NonFiniteReport> report = rank.model.locate(batch, step);
            assertThat(report).isPresent();
            assertThat(report.get().stage()).isEqualTo("forward");
            assertThat(report.get().layer()).isEqualTo(1);
            assertThat(report.get().tensor()).isEqualTo("layers.1.attention output");
            rank.backend.elementwise().fill(output.weight(), Float.NaN);
            assertThat(rank.model.locate(batch, step).orElseThrow().toString())
                    .contains("parameter")
                    .contains("layers.1.attention.o");
        }
    }

    @Test
    void capacityDropsAndReportsIt() {
        FourfoldConfig config = TinyModels.config("model.moe.capacity={factor: 0.5}");
        Batch batch = TinyModels.batch(config, 2, 1);
        try (SingleRank rank = new SingleRank(config)) {
            MicroBatchResult result = rank.run(batch);
            // Capacity ceil(12 * 2 / 4 * 0.5) = 3 slots for each of 4 experts in each of 2 layers.
            assertThat(result.slots()).isEqualTo(2 * 12 * 2);
            assertThat(result.slots() - result.droppedSlots()).isLessThanOrEqualTo(2 * 4 * 3);
            assertThat(Arrays.stream(result.expertLoad().get(0).tokens()).sum()).isEqualTo(24);
        }
    }

    @Test
    void expertBiasMovesTowardsBalance() {
        FourfoldConfig config =
                TinyModels.config("model.moe.router.score=sigmoid", "model.moe.router.bias_update_rate=0.01");
        Batch batch = TinyModels.batch(config, 2, 1);
        try (SingleRank rank = new SingleRank(config)) {
            int[] load = rank.run(batch).expertLoad().get(1).tokens();
            rank.model.endStep();
            float[] bias = rank.backend.download(
                    TinyModels.entry(rank.model.parameters().state(), ParameterNames.expertBias(1)));
            for (int e = 0; e < 4; e++) {
                assertThat(bias[e]).isEqualTo(0.01f * Math.signum(6f - load[e]));
            }
        }
    }

    @Test
    void misuseIsExplained() {
        FourfoldConfig config = TinyModels.config();
        Batch batch = TinyModels.batch(config, 1, 1);
        try (SingleRank rank = new SingleRank(config)) {
            assertThatThrownBy(() -> rank.model.forwardBackward(batch, SingleRank.step(batch)))
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessageContaining("beginStep");
            assertThatThrownBy(() -> rank.model.logits(new int[] {23}))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("outside the vocabulary of 23");
            assertThatThrownBy(() -> rank.model.logits(new int[0])).hasMessageContaining("empty sequence");
        }
    }

    private static FourfoldConfig quantizable(String... settings) {
        List<String> all = new ArrayList<>(Arrays.asList(QUANTIZABLE));
        all.addAll(Arrays.asList(settings));
        return TinyModels.config(all.toArray(String[]::new));
    }

    /** Trains on one batch again and again. */
    private static double[] trainingLosses(FourfoldConfig config, Batch batch, int steps) {
        double[] losses = new double[steps];
        try (SingleRank rank = new SingleRank(config);
                TensorScope scope = rank.backend.scope(Region.OPTIMIZER)) {
            ParameterStore store = rank.model.parameters();
            List<Tensor> moments = new ArrayList<>();
            for (Parameter.Kind kind : Parameter.Kind.values()) {
                moments.add(scope.zeros(DType.FP32, store.flatWeights(kind).shape()));
                moments.add(scope.zeros(DType.FP32, store.flatWeights(kind).shape()));
            }
            for (int i = 0; i < steps; i++) {
                StepContext step = new StepContext(i + 1, 5, 1.0 / batch.labelCount(), batch.samples(), null);
                rank.model.beginStep(step);
                losses[i] = rank.model.forwardBackward(batch, step).lossSum() / batch.labelCount();
                AdamWStep update = new AdamWStep(i + 1, 0.01f, 0.9f, 0.95f, 1e-8f, 0f, 1f);
                for (Parameter.Kind kind : Parameter.Kind.values()) {
                    Fp32Values masters =
                            store.masters(kind).part(0, store.flatWeights(kind).elements());
                    rank.backend
                            .optimizer()
                            .adamW(
                                    masters.values(),
                                    masters.remainder(),
                                    store.flatGrads(kind),
                                    moments.get(2 * kind.ordinal()),
                                    moments.get(2 * kind.ordinal() + 1),
                                    update);
                }
                rank.model.endStep();
            }
        }
        return losses;
    }
}
