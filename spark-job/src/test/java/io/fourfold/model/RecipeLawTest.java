package io.fourfold.model;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.Batch;
import io.fourfold.model.RankGroup.StepResult;
import java.util.Arrays;
import java.util.Map;
import java.util.stream.Stream;
import org.assertj.core.data.Offset;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * {@link LawTest} for recipes that round. Data and pipeline parallelism leave every operand as it is. Other axes add BF16
 * numbers in another order; what is near a tie then rounds to the other side, and some tokens go to other experts. So the
 * measure is what one rank does to itself with other bits of stochastic rounding.
 */
class RecipeLawTest {
    private static final String[] MODEL = {
        "model.layers=4",
        "model.hidden_size=64",
        "model.vocab_size=32",
        "model.init_std=0.1",
        "model.attention={heads: 4, kv_heads: 4, head_dim: 16}",
        "model.ffn={intermediate_size: 64}",
        "model.moe={experts: 8, top_k: 2, intermediate_size: 32, dense_layers: [1]}",
        "model.moe.shared_expert={intermediate_size: 64}",
        "train.sequence_length=64",
        "train.global_batch_size=4",
        "train.optimizer.epsilon=0.01",
    };
    /**
     * A batch without a value so near a tie that FP32 sums of another expert placement round it the other way. Of sixteen
     * seeds, four to seven have one, whichever way the weights are rounded.
     */
    private static final int BATCH_SEED = 3;
    /** Relative, of loss and of all gradients together; with FP32 sums only. */
    private static final double FP32_NOISE = 1e-5;

    @ParameterizedTest
    @CsvSource({"bf16, W2", "bf16, W2 EP2", "bf16, W2 PP2", "nvfp4, W2", "nvfp4, W2 PP2", "nvfp4, W4 PP2 V2"})
    void sameOperandsGiveTheSameStep(String recipe, String mapping) throws Exception {
        compare(recipe, mapping, FP32_NOISE, FP32_NOISE);
    }

    @ParameterizedTest
    @CsvSource({"W2 ETP2", "W2 TP2", "W2 CP2", "W4 CP4 RING", "W4 TP2 CP2", "W4 TP2 EP4", "W8 TP2 CP2 PP2 EP4"})
    void bf16SumsInAnotherOrderStayClose(String mapping) throws Exception {
        compare("bf16", mapping, 1e-3, 0.03);
    }

    @ParameterizedTest
    @CsvSource({
        "W2 EP2",
        "W2 ETP2",
        "W2 TP2",
        "W2 CP2",
        "W4 TP2 CP2 RING",
        "W4 TP2 CP2",
        "W4 TP2 EP4",
        "W8 TP2 CP2 PP2 EP4"
    })
    void nvfp4IsAsCloseAsToItselfWithOtherRandomBits(String mapping) throws Exception {
        FourfoldConfig config = config("nvfp4", "W1");
        Batch batch = TinyModels.batch(config, 4, BATCH_SEED);
        StepContext step = SingleRank.step(batch);
        StepContext otherBits = new StepContext(
                step.step(), step.seed() + 1, step.lossScale(), step.globalBatchSize(), step.telemetry());
        StepResult other = RankGroup.step(config, batch, otherBits);
        double noise = gradientError(RankGroup.step(config, batch), other);
        assertThat(noise).isBetween(0.1, 0.5);
        compare("nvfp4", mapping, 1e-2, 1.2 * noise);
    }

    private static void compare(String recipe, String mapping, double loss, double gradient)
            throws InterruptedException {
        FourfoldConfig reference = config(recipe, "W1");
        Batch batch = TinyModels.batch(reference, 4, BATCH_SEED);
        StepResult expected = RankGroup.step(reference, batch);
        StepResult actual = RankGroup.step(config(recipe, mapping), batch);
        assertThat(actual.loss()).isCloseTo(expected.loss(), Offset.offset(loss * expected.loss()));
        assertThat(actual.gradients().keySet()).isEqualTo(expected.gradients().keySet());
        assertThat(gradientError(expected, actual)).isLessThan(gradient);
    }

    private static FourfoldConfig config(String recipe, String mapping) {
        String[] settings = {"recipe.kind=" + recipe};
        return TinyModels.config(join(MODEL, join(settings, LawMappings.settings(mapping))));
    }

    private static double gradientError(StepResult expected, StepResult actual) {
        return RelativeError.of(all(expected.gradients()), all(actual.gradients()));
    }

    private static float[] all(Map<String, float[]> parts) {
        float[] all = new float[parts.values().stream().mapToInt(p -> p.length).sum()];
        int at = 0;
        for (float[] part : parts.values()) {
            System.arraycopy(part, 0, all, at, part.length);
            at += part.length;
        }
        return all;
    }

    private static String[] join(String[] first, String[] second) {
        return Stream.concat(Arrays.stream(first), Arrays.stream(second)).toArray(String[]::new);
    }
}
