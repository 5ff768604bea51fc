package io.fourfold.model;

import io.fourfold.bench.CudaBenchDevice;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.Batch;
import io.fourfold.kernels.cuda.CudaBackend;
import io.fourfold.kernels.cuda.CudaDevice;
import io.fourfold.model.RankGroup.StepResult;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.TestFactory;

/**
 * The law of parallelism with ranks that share one GPU: every operation of every axis runs on the GPU, and what the ranks send
 * each other goes through host memory. So it needs neither NCCL nor a second GPU, and takes more ranks than there are GPUs;
 * {@link CudaLawTest} has the same law between GPUs. Prints the largest deviations.
 */
@Tag("gpu")
class CudaSharedLawTest {
    private static final List<String> MAPPINGS = List.of(
            "W2",
            "W2 EP2",
            "W2 ETP2",
            "W2 TP2",
            "W2 CP2",
            "W2 CP2 RING",
            "W2 PP2",
            "W4 TP2 EP4",
            "W4 ETP2 EP2",
            "W4 TP4",
            "W4 TP2 CP2",
            "W4 TP2 PP2 V2",
            "W8 TP2 CP2 PP2 EP4");

    /** Expert, tensor and expert-tensor parallelism: what divides operands. */
    private static final List<String> DIVIDING =
            List.of("W2 EP2", "W2 ETP2", "W2 TP2", "W4 TP2 EP4", "W4 TP2 ETP2 EP2");

    /** Sums of FP32 in another order; gradients of small norms differ most. */
    private static final StepComparison FP32 = new StepComparison(1e-5, 2e-5, 1e-5, true);

    /** Widths whose halves are whole blocks of 32. */
    private static final String[] WIDE = {
        "model.ffn={intermediate_size: 128}",
        "model.moe={experts: 8, top_k: 2, intermediate_size: 64, dense_layers: [1]}",
        "model.moe.shared_expert={intermediate_size: 64}"
    };

    private static final RankPool RANKS = new RankPool(rank -> new CudaBenchDevice(CudaBackend.shared(0)));

    @BeforeAll
    static void requireGpu() {
        String reason = CudaDevice.unavailableBecause();
        if (reason != null) {
            Assumptions.abort("no ranks on a GPU: " + reason);
        }
    }

    @AfterAll
    static void close() throws InterruptedException {
        RANKS.close();
    }

    @TestFactory
    Stream<DynamicTest> fp32() {
        return Stream.of(LawTest.DROPLESS, LawTest.DROPPING).flatMap(settings -> {
            Reference reference =
                    new Reference(settings == LawTest.DROPLESS ? "fp32 dropless" : "fp32 dropping", true, settings);
            return MAPPINGS.stream()
                    .map(mapping -> DynamicTest.dynamicTest(reference.name + " " + mapping, () -> {
                        StepResult actual = reference.mapped(mapping);
                        print(reference, mapping, actual);
                        FP32.compare(reference.result(), actual);
                    }));
        });
    }

    /** BF16 sums in another order; some tokens go to other experts. */
    @TestFactory
    Stream<DynamicTest> bf16() {
        return within(recipe("bf16"), MAPPINGS, 1e-3, 0.03);
    }

    /** Rows that travel packed: what BF16 sums move by a rounding may move by a step of the codes. */
    @TestFactory
    Stream<DynamicTest> packedDispatch() {
        return Stream.of("fp8", "nvfp4")
                .flatMap(format -> within(
                        recipe("bf16").with("dispatch " + format, "recipe.dispatch=" + format), DIVIDING, 1e-3, 0.05));
    }

    /** As close as one rank to itself with other bits of stochastic rounding. */
    @TestFactory
    Stream<DynamicTest> fp4() {
        return Stream.of("nvfp4", "mxfp4").flatMap(kind -> {
            Reference reference = recipe(kind);
            return DIVIDING.stream()
                    .map(mapping -> DynamicTest.dynamicTest(kind + " " + mapping, () -> {
                        StepResult actual = reference.mapped(mapping);
                        print(reference, mapping, actual);
                        RecipeLawTest.assertClose(reference.result(), actual, 1e-2, 1.2 * reference.noise());
                    }));
        });
    }

    private static Reference recipe(String kind) {
        return new Reference("", false, RecipeLawTest.MODEL).with("", WIDE).with(kind, "recipe.kind=" + kind);
    }

    private static Stream<DynamicTest> within(
            Reference reference, List<String> mappings, double loss, double gradient) {
        return mappings.stream()
                .map(mapping -> DynamicTest.dynamicTest(reference.name + " " + mapping, () -> {
                    StepResult actual = reference.mapped(mapping);
                    print(reference, mapping, actual);
                    RecipeLawTest.assertClose(reference.result(), actual, loss, gradient);
                }));
    }

    /** A model, and what one rank makes of it, computed once. */
    private static final class Reference {
        private final String name;
        private final boolean exact;
        private final String[] settings;
        private @Nullable StepResult result;
        private double noise;

        Reference(String name, boolean exact, String... settings) {
            this.name = name;
            this.exact = exact;
            this.settings = settings;
        }

        Reference with(String other, String... more) {
            return new Reference(other, exact, join(settings, more));
        }

        FourfoldConfig config(String... more) {
            return exact ? LawModel.config(settings, more) : TinyModels.config(join(settings, more));
        }

        Batch batch() {
            return TinyModels.batch(config(), config().train().globalBatchSize(), exact ? LawTest.SEED : 5);
        }

        StepResult mapped(String mapping) throws InterruptedException {
            return RANKS.step(config(LawMappings.settings(mapping)), batch(), SingleRank.step(batch()));
        }

        StepResult result() throws InterruptedException {
            if (result == null) {
                result = RANKS.step(config(), batch(), SingleRank.step(batch()));
            }
            return result;
        }

        double noise() throws InterruptedException {
            if (noise == 0) {
                StepContext step = SingleRank.step(batch());
                StepContext otherBits = new StepContext(
                        step.step(), step.seed() + 1, step.lossScale(), step.globalBatchSize(), step.telemetry());
                noise = RecipeLawTest.gradientError(result(), RANKS.step(config(), batch(), otherBits));
                System.out.printf("LAW %s with other random bits: gradients %.1e%n", name, noise);
            }
            return noise;
        }
    }

    private static void print(Reference reference, String mapping, StepResult actual) throws InterruptedException {
        StepResult expected = reference.result();
        System.out.printf(
                "LAW shared %-16s %-18s loss %.7f %+.1e  norm %+.1e  gradients %.1e%n",
                reference.name,
                mapping,
                actual.loss(),
                actual.loss() / expected.loss() - 1,
                actual.gradientNorm() / expected.gradientNorm() - 1,
                RecipeLawTest.gradientError(expected, actual));
        System.out.flush();
    }

    private static String[] join(String[] first, String... second) {
        return Stream.concat(Arrays.stream(first), Arrays.stream(second)).toArray(String[]::new);
    }
}
