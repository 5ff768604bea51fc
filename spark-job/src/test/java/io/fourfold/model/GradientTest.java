package io.fourfold.model;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.Batch;
import io.fourfold.metrics.StepMetrics.LayerLoad;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/**
 * Written-out gradients against central differences of the objective, for every parameter of models that between them have
 * every layer and loss. FP32, so directional derivatives: along the gradient (best signal) and along random directions
 * (errors at right angles to the gradient).
 */
class GradientTest {
    private static final double[] FACTORS = {-2, -1, 1, 2};

    private record Variant(String name, String... settings) {}

    private static final Variant[] VARIANTS = {
        new Variant("top-k softmax", "model.moe.router.score=top_k_softmax"),
        new Variant("softmax top-k", "model.moe.router.score=softmax_top_k"),
        new Variant("softmax top-k normalised", "model.moe.router.normalize=true", "model.moe.router.scale=1.5"),
        new Variant(
                "sigmoid with bias",
                "model.moe.router.score=sigmoid",
                "model.moe.router.normalize=true",
                "model.moe.router.bias_update_rate=0.001"),
        new Variant(
                "group-limited",
                "model.moe.experts=8",
                "model.moe.top_k=2",
                "model.moe.router.groups=4",
                "model.moe.router.group_top_k=2"),
        new Variant("shared expert", "model.moe.shared_expert={intermediate_size: 8}"),
        new Variant("gated shared expert", "model.moe.shared_expert={intermediate_size: 8, gated: true}"),
        new Variant("relu2 experts", "model.moe.activation=relu2"),
        new Variant("dense swiglu and moe", "model.moe.dense_layers=[0]"),
        new Variant("dense relu2 and moe", "model.ffn.activation=relu2", "model.moe.layer_step=2"),
        new Variant("tied head", "model.tie_embeddings=true"),
        new Variant("qkv bias", "model.attention.qkv_bias=true"),
        new Variant("qk norm", "model.attention.qk_norm=true"),
        new Variant("z-loss", "model.moe.router.z_loss_coeff=0.5"),
        new Variant("aux loss of the micro-batch", "model.moe.router.aux_loss_coeff=0.7"),
        new Variant(
                "aux loss of each sequence",
                "model.moe.router.aux_loss_coeff=0.7",
                "model.moe.router.aux_loss_scope=sequence"),
        new Variant(
                "aux loss of the global batch",
                "model.moe.router.aux_loss_coeff=0.7",
                "model.moe.router.aux_loss_scope=global_batch"),
        new Variant("aux loss with sigmoid", "model.moe.router.aux_loss_coeff=0.7", "model.moe.router.score=sigmoid"),
        new Variant("capacity by probability", "model.moe.capacity={factor: 0.75}"),
        new Variant("capacity by position", "model.moe.capacity={factor: 0.75, policy: position}"),
        new Variant("capacity padded", "model.moe.capacity={factor: 1.0, pad: true}"),
        new Variant("capacity of the full sequence", "model.moe.capacity={factor: 0.75, scope: full_sequence}"),
    };

    @TestFactory
    Stream<DynamicTest> gradients() {
        return Stream.of(VARIANTS)
                .map(variant -> DynamicTest.dynamicTest(variant.name(), () -> check(variant.settings())));
    }

    private static void check(String... settings) {
        FourfoldConfig config = TinyModels.config(settings);
        Batch batch = TinyModels.batch(config, 2, 5);
        try (SingleRank rank = new SingleRank(config)) {
            spread(rank);
            rank.run(batch);
            float[][] gradients = new float[rank.model.parameters().parameters().size()][];
            for (int i = 0; i < gradients.length; i++) {
                gradients[i] = rank.backend.download(
                        rank.model.parameters().parameters().get(i).grad());
            }
            Random random = new Random(3);
            int compared = 0;
            for (int i = 0; i < gradients.length; i++) {
                Parameter parameter = rank.model.parameters().parameters().get(i);
                double norm = Math.sqrt(dot(gradients[i], gradients[i]));
                assertThat(norm).as("gradient norm of %s", parameter.name()).isPositive();
                float[] along = gradients[i].clone();
                compared += compare(rank, batch, parameter, gradients[i], scaled(along, 1 / norm)) ? 1 : 0;
                for (int trial = 0; trial < 2; trial++) {
                    float[] direction = new float[gradients[i].length];
                    for (int j = 0; j < direction.length; j++) {
                        direction[j] = (float) random.nextGaussian();
                    }
                    double length = Math.sqrt(dot(direction, direction));
                    compared += compare(rank, batch, parameter, gradients[i], scaled(direction, 1 / length)) ? 1 : 0;
                }
            }
            assertThat(compared).as("smooth directions").isGreaterThan(3 * gradients.length * 9 / 10);
        }
    }

    /** Moves norm weights, biases and router state off their special initial values. */
    private static void spread(SingleRank rank) {
        Random random = new Random(11);
        for (Parameter parameter : rank.model.parameters().parameters()) {
            if (!parameter.decay()) {
                float[] values = rank.backend.download(parameter.weight());
                for (int i = 0; i < values.length; i++) {
                    values[i] += (float) (0.3 * random.nextGaussian());
                }
                rank.backend.upload(values, parameter.weight());
            }
        }
        rank.model.parameters().state().forEach((name, tensor) -> {
            float[] values = new float[tensor.dim(0)];
            for (int i = 0; i < values.length; i++) {
                values[i] = name.endsWith("previous_load") ? (i + 1f) / 10 : 0.05f * i;
            }
            rank.backend.upload(values, tensor);
        });
    }

    /**
     * Fourth-order central difference along a unit direction. The objective jumps where a token changes its experts or
     * its place under a capacity limit, so the step shrinks until the two sides agree; a wrong gradient agrees at none.
     *
     * @return false when a token changes its experts at every step size, so that there is nothing to compare
     */
    private static boolean compare(
            SingleRank rank, Batch batch, Parameter parameter, float[] gradient, float[] direction) {
        float[] original = rank.backend.download(parameter.weight());
        double expected = dot(gradient, direction);
        List<int[]> choice = choice(rank.run(batch));
        double closest = Double.NaN;
        for (double h = 0.02; h > 0.0005; h /= 2) {
            double[] values = new double[4];
            boolean smooth = true;
            for (int i = 0; i < 4; i++) {
                rank.backend.upload(moved(original, FACTORS[i] * h, direction), parameter.weight());
                MicroBatchResult result = rank.run(batch);
                values[i] = result.lossSum() / batch.labelCount() + result.auxLoss() + result.zLoss();
                smooth &= same(choice, choice(result));
            }
            rank.backend.upload(original, parameter.weight());
            double measured = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h);
            // The FP32 forward leaves noise of about 2e-6 in the objective.
            if (smooth && Math.abs(measured - expected) < 2e-6 / h + 3e-3 * Math.abs(expected)) {
                return true;
            }
            closest = smooth ? measured : closest;
        }
        assertThat(closest)
                .as("directional derivative of %s, gradient gives %s", parameter.name(), expected)
                .isNaN();
        return false;
    }

    private static float[] moved(float[] origin, double distance, float[] direction) {
        float[] moved = origin.clone();
        for (int j = 0; j < moved.length; j++) {
            moved[j] += (float) (distance * direction[j]);
        }
        return moved;
    }

    private static List<int[]> choice(MicroBatchResult result) {
        return result.expertLoad().stream().map(LayerLoad::tokens).toList();
    }

    private static boolean same(List<int[]> a, List<int[]> b) {
        for (int i = 0; i < a.size(); i++) {
            if (!Arrays.equals(a.get(i), b.get(i))) {
                return false;
            }
        }
        return true;
    }

    private static float[] scaled(float[] values, double factor) {
        for (int i = 0; i < values.length; i++) {
            values[i] *= (float) factor;
        }
        return values;
    }

    private static double dot(float[] a, float[] b) {
        double sum = 0;
        for (int i = 0; i < a.length; i++) {
            sum += (double) a[i] * b[i];
        }
        return sum;
    }
}
