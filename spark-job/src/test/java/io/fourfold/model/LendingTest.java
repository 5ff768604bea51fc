package io.fourfold.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.Batch;
import io.fourfold.kernels.cpu.CpuBackend;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * Activations in the memory of gradients that are not written yet change no bit of anything. The backend fills what it lends
 * with NaN before and after, so a gradient that was needed, or an activation that was overwritten, shows.
 */
class LendingTest {
    private static final String[] MODEL = {
        "model.layers=3",
        "model.hidden_size=32",
        "model.attention={heads: 4, kv_heads: 2, head_dim: 8, qk_norm: true, qkv_bias: true}",
        "model.ffn={intermediate_size: 32}",
        "model.moe={experts: 4, top_k: 2, intermediate_size: 32, dense_layers: [1], shared_expert: {intermediate_size: 32, gated: true}}",
        "model.moe.router.aux_loss_coeff=0.2",
        "model.moe.router.z_loss_coeff=0.05",
        "train.sequence_length=32",
        "train.micro_batch_size=2",
    };

    private record Steps(List<Double> losses, Map<String, List<Float>> gradients, double evaluated) {}

    @ParameterizedTest
    @CsvSource({
        "fp32, false, ''",
        "fp32, true, ''",
        "bf16, false, ''",
        "nvfp4, false, ''",
        "fp8, false, ''",
        "nvfp4, false, norm",
        "nvfp4, false, activation",
        "bf16, false, 'norm,dispatch'",
        "bf16, false, attention",
        "nvfp4, false, expert",
        "nvfp4, false, block",
        "bf16, true, 'norm,activation,attention,expert'"
    })
    void changesNoBit(String recipe, boolean tied, String recompute) {
        String[] settings = {
            "recipe.kind=" + recipe, "model.tie_embeddings=" + tied, "train.recompute=[" + recompute + "]"
        };
        Steps expected = steps(with(settings), 0);
        assertThat(steps(with(settings), 20_000)).isEqualTo(expected);
    }

    @Test
    void canBeTurnedOff() {
        try (CpuBackend backend = CpuBackend.lending(1);
                SingleRank rank = new SingleRank(TinyModels.config(with("train.lend_gradients=false")), backend)) {
            rank.run(TinyModels.batch(rank.config, 2, 5));
            assertThat(backend.peakLentFloats()).isZero();
        }
    }

    @Test
    void namesTheGradientThatWouldOverwriteActivations() {
        FourfoldConfig config = TinyModels.config(with());
        try (CpuBackend backend = CpuBackend.lending(1);
                SingleRank rank = new SingleRank(config, backend)) {
            Parameter last = rank.model.parameters().get("layers.2.moe.experts.down");
            try (PassMemory memory = PassMemory.lent(backend, List.of(last))) {
                TensorScope scope = memory.keptUntil(last);
                scope.allocate(DType.FP32, 100);
                assertThatThrownBy(() -> memory.reclaim(last))
                        .hasMessageContainingAll("layers.2.moe.experts.down", "112", "ACTIVATIONS");
                scope.close();
                memory.reclaim(last);
                memory.keptUntil(last).allocate(DType.FP32, 200);
            }
            assertThat(backend.peakLentFloats()).isEqualTo(112);
        }
    }

    /**
     * @param lent at least so many floats must have been lent; 0 = a backend that does not lend
     */
    private static Steps steps(String[] settings, long lent) {
        FourfoldConfig config = TinyModels.config(settings);
        CpuBackend backend = lent == 0 ? new CpuBackend(1) : CpuBackend.lending(1);
        List<Double> losses = new ArrayList<>();
        Map<String, List<Float>> gradients = new TreeMap<>();
        try (SingleRank rank = new SingleRank(config, backend)) {
            for (int number = 1; number <= 2; number++) {
                Batch batch = TinyModels.batch(config, 2, 5 + number);
                StepContext step = new StepContext(number, 99, 1.0 / batch.labelCount(), 2 * number, null);
                rank.model.beginStep(step);
                for (int microBatch = 0; microBatch < number; microBatch++) {
                    MicroBatchResult result = rank.model.forwardBackward(batch, step);
                    losses.add(result.lossSum() + result.auxLoss() + result.zLoss());
                }
                for (Parameter parameter : rank.model.parameters().parameters()) {
                    List<Float> values = new ArrayList<>();
                    for (float value : backend.download(parameter.grad())) {
                        values.add(value);
                    }
                    gradients.put(number + " " + parameter.name(), values);
                }
                var unused = rank.model.endStep();
            }
            assertThat(backend.peakLentFloats()).isGreaterThanOrEqualTo(lent);
            return new Steps(losses, gradients, rank.model.evaluate(TinyModels.batch(config, 2, 9)));
        }
    }

    private static String[] with(String... settings) {
        List<String> all = new ArrayList<>(Arrays.asList(MODEL));
        all.addAll(Arrays.asList(settings));
        return all.toArray(String[]::new);
    }
}
