package io.fourfold.model;

import io.fourfold.bench.CudaBenchDevice;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.Batch;
import io.fourfold.kernels.cuda.CudaDevice;
import io.fourfold.model.RankGroup.StepResult;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.TestFactory;

/**
 * The law of parallelism on GPUs connected by NCCL: under every mapping for the GPUs at hand, one step gives the loss, the
 * gradients and the weights of one GPU on the same global batch. FP32 steps agree to the noise of sums in another order, and
 * the same tokens go to the same experts. For recipes that round see {@link RecipeLawTest}. Prints the largest deviations.
 * {@code -Dfourfold.law=REGEX} chooses by name, for example {@code "fp32 .* W2.*"}.
 */
@Tag("gpu")
class CudaLawTest {
    private static final int MOST_GPUS = 4;

    private static final List<String> TWO =
            List.of("W2", "W2 EP2", "W2 PP2", "W2 PP2 V2", "W2 ETP2", "W2 TP2", "W2 CP2", "W2 CP2 RING");
    private static final List<String> FOUR = List.of(
            "W4",
            "W4 EP2",
            "W4 EP4",
            "W4 PP4 L0,1,3,0",
            "W4 PP2 V2",
            "W4 PP2 EP2",
            "W4 ETP2 EP2",
            "W4 PP2 ETP2",
            "W4 TP4",
            "W4 TP2 EP4",
            "W4 TP2 PP2",
            "W4 TP2 ETP2 EP2",
            "W4 TP2 CP2",
            "W4 CP2 EP4",
            "W4 CP2 PP2",
            "W4 CP4",
            "W4 CP4 RING",
            "W4 TP2 CP2 RING");

    /** Sums of FP32 in another order; gradients of small norms differ most. */
    private static final StepComparison FP32 = new StepComparison(1e-5, 2e-5, 1e-5, true);

    private static final String[] OVERLAP = {"parallel.gradients={overlap: true, bucket_mib: 1}"};

    /** Heads and widths for the kernels of real models. */
    private static final String[] WIDE = {
        "model.layers=4",
        "model.hidden_size=256",
        "model.vocab_size=512",
        "model.init_std=0.05",
        "model.attention={heads: 4, kv_heads: 4, head_dim: 64}",
        "model.ffn={intermediate_size: 512}",
        "model.moe={experts: 8, top_k: 2, intermediate_size: 128, dense_layers: [1]}",
        "model.moe.shared_expert={intermediate_size: 256}",
        "train.sequence_length=512",
        "train.global_batch_size=4",
        "train.optimizer.epsilon=0.01",
    };

    /** Each tensor parallel rank has some of its micro-batch's sequences as a whole. */
    private static final String SEQUENCES = "train.micro_batch_size=2";

    /** Rank r on GPU r. */
    private static final RankPool GPUS = new RankPool(CudaBenchDevice::new);

    @AfterAll
    static void close() throws InterruptedException {
        GPUS.close();
    }

    @TestFactory
    Stream<DynamicTest> law() {
        String chosen = System.getProperty("fourfold.law", ".*");
        return Stream.of(fp32(), bf16(), nvfp4())
                .flatMap(tests -> tests)
                .filter(test -> test.getDisplayName().matches(chosen));
    }

    private Stream<DynamicTest> fp32() {
        return Stream.concat(
                exact("dropless", LawTest.DROPLESS, mappings()),
                Stream.concat(
                        exact("dropping", LawTest.DROPPING, mappings()),
                        Stream.concat(
                                exact("whole sequences", join(LawTest.DROPLESS, SEQUENCES), List.of("W2 TP2")),
                                exact(
                                        "overlapped",
                                        join(LawTest.DROPLESS, OVERLAP),
                                        List.of("W2", "W2 EP2", "W2 TP2")))));
    }

    private Stream<DynamicTest> bf16() {
        Reference small = new Reference("bf16", RecipeLawTest.MODEL).with("recipe.kind=bf16");
        Reference wide = new Reference("bf16 wide", join(WIDE, "recipe.kind=bf16"));
        // Shards of several slices: the dense weights are more than a bucket.
        Reference overlapped = new Reference("bf16 wide overlapped", join(WIDE, OVERLAP)).with("recipe.kind=bf16");
        Reference whole = new Reference("bf16 whole sequences", join(wide.settings, SEQUENCES));
        return Stream.concat(
                mappings().stream()
                        .flatMap(mapping -> Stream.of(
                                rounding(small, mapping, 1e-3, 0.03),
                                rounding(wide, mapping, 1e-3, 0.03),
                                rounding(overlapped, mapping, 1e-3, 0.03))),
                mappings().stream()
                        .filter(mapping -> mapping.contains(" TP"))
                        .map(mapping -> rounding(whole, mapping, 1e-3, 0.03)));
    }

    private Stream<DynamicTest> nvfp4() {
        Reference small = new Reference("nvfp4", RecipeLawTest.MODEL).with("recipe.kind=nvfp4");
        return mappings().stream()
                .map(mapping -> DynamicTest.dynamicTest("nvfp4 " + mapping, () -> {
                    StepResult expected = small.result();
                    StepContext step = SingleRank.step(small.batch());
                    StepContext otherBits = new StepContext(
                            step.step(), step.seed() + 1, step.lossScale(), step.globalBatchSize(), step.telemetry());
                    double noise =
                            RecipeLawTest.gradientError(expected, GPUS.step(small.config(), small.batch(), otherBits));
                    within(small, mapping, 1e-2, 1.2 * noise);
                }));
    }

    private Stream<DynamicTest> exact(String name, String[] settings, List<String> mappings) {
        FourfoldConfig config = LawModel.config(settings);
        Batch batch = TinyModels.batch(config, config.train().globalBatchSize(), LawTest.SEED);
        StepResult[] expected = new StepResult[1];
        return mappings.stream()
                .map(mapping -> DynamicTest.dynamicTest("fp32 " + name + " " + mapping, () -> {
                    if (expected[0] == null) {
                        expected[0] = GPUS.step(config, batch, SingleRank.step(batch));
                    }
                    FourfoldConfig mapped = LawModel.config(settings, LawMappings.settings(mapping));
                    StepResult actual = GPUS.step(mapped, batch, SingleRank.step(batch));
                    print("fp32 " + name, mapping, expected[0], actual);
                    FP32.compare(expected[0], actual);
                }));
    }

    private DynamicTest rounding(Reference reference, String mapping, double loss, double gradient) {
        return DynamicTest.dynamicTest(
                reference.name + " " + mapping, () -> within(reference, mapping, loss, gradient));
    }

    private static void within(Reference reference, String mapping, double loss, double gradient)
            throws InterruptedException {
        StepResult expected = reference.result();
        StepResult actual = GPUS.step(
                TinyModels.config(join(reference.settings, LawMappings.settings(mapping))),
                reference.batch(),
                SingleRank.step(reference.batch()));
        print(reference.name, mapping, expected, actual);
        RecipeLawTest.assertClose(expected, actual, loss, gradient);
    }

    /** What one GPU computes, once for all mappings. */
    private static final class Reference {
        private final String name;
        private final String[] settings;
        private @Nullable StepResult result;

        Reference(String name, String... settings) {
            this.name = name;
            this.settings = settings;
        }

        Reference with(String... more) {
            return new Reference(name, join(settings, more));
        }

        FourfoldConfig config() {
            return TinyModels.config(settings);
        }

        Batch batch() {
            return TinyModels.batch(config(), config().train().globalBatchSize(), 5);
        }

        StepResult result() throws InterruptedException {
            if (result == null) {
                result = GPUS.step(config(), batch(), SingleRank.step(batch()));
            }
            return result;
        }
    }

    private static List<String> mappings() {
        String reason = CudaDevice.unavailableBecause();
        int gpus = reason == null ? CudaDevice.count() : 0;
        Assumptions.assumeTrue(gpus > 1, reason == null ? "mappings need two GPUs, this process sees " + gpus : reason);
        return gpus < MOST_GPUS
                ? TWO
                : Stream.concat(TWO.stream(), FOUR.stream()).toList();
    }

    private static void print(String name, String mapping, StepResult expected, StepResult actual) {
        double worst = 0;
        String parameter = "";
        for (Map.Entry<String, float[]> gradient : expected.gradients().entrySet()) {
            float[] other = actual.gradients().get(gradient.getKey());
            double error = other == null ? Double.NaN : RelativeError.of(gradient.getValue(), other);
            if (!(error <= worst)) {
                worst = error;
                parameter = gradient.getKey();
            }
        }
        System.out.printf(
                "LAW %-16s %-18s loss %.7f %+.1e  norm %+.1e  gradients %.1e  worst %.1e %s%n",
                name,
                mapping,
                actual.loss(),
                actual.loss() / expected.loss() - 1,
                actual.gradientNorm() / expected.gradientNorm() - 1,
                RecipeLawTest.gradientError(expected, actual),
                worst,
                parameter);
        System.out.flush();
    }

    private static String[] join(String[] first, String... second) {
        List<String> all = new ArrayList<>(Arrays.asList(first));
        all.addAll(Arrays.asList(second));
        return all.toArray(String[]::new);
    }
}
