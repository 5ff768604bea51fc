package io.fourfold.model;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.Batch;
import io.fourfold.model.RankGroup.StepResult;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.TestFactory;

/**
 * The law of parallelism: under any mapping the loss, the gradient of every parameter and the weights after one optimizer
 * step are those of one rank on the same global batch, within FP32 reduction noise, and the same tokens go to the same
 * experts.
 */
class LawTest {
    static final String[] DROPLESS = {
        "model.moe.router.score=sigmoid",
        "model.moe.router.normalize=true",
        "model.moe.router.bias_update_rate=0.01",
        "model.moe.router.aux_loss_coeff=0.2",
        "model.moe.router.aux_loss_scope=micro_batch",
        "model.moe.router.z_loss_coeff=0.05",
        "model.moe.shared_expert={intermediate_size: 16, gated: true}",
        "model.attention={heads: 8, kv_heads: 4, head_dim: 4, qkv_bias: true, qk_norm: true}",
    };
    static final String[] DROPPING = {
        "model.moe.capacity={factor: 0.75, scope: full_sequence}",
        "model.moe.router.aux_loss_coeff=0.2",
        "model.moe.router.aux_loss_scope=sequence",
        "model.moe.shared_expert={intermediate_size: 16}",
        "model.tie_embeddings=true",
    };

    /**
     * Of the batch. Which tokens are dropped, or go where, is decided by comparisons; with this seed none is so close that FP32
     * noise decides it, whichever kernel OpenBLAS takes (tried: Haswell, SkylakeX, Sandybridge, Nehalem, Zen, Cooperlake,
     * Prescott).
     */
    static final int SEED = 8;

    @TestFactory
    Stream<DynamicTest> smallList() {
        return cases(LawMappings.SMALL);
    }

    @Tag("slow")
    @TestFactory
    Stream<DynamicTest> wholeList() {
        return cases(LawMappings.all());
    }

    /** Layers that are computed again exchange again. */
    @TestFactory
    Stream<DynamicTest> recomputing() {
        List<String> mappings = List.of("W4 TP2 CP2", "W8 TP2 CP2 PP2 EP4");
        return Stream.of("norm, activation, attention, expert", "block").flatMap(modules -> {
            String[] settings = Stream.concat(Stream.of(DROPPING), Stream.of("train.recompute=[" + modules + "]"))
                    .toArray(String[]::new);
            return cases("recomputing " + modules, LawModel.config(DROPPING), settings, mappings);
        });
    }

    /** Tokens travel once a rank in all the others; here a row for each chosen expert. */
    @TestFactory
    Stream<DynamicTest> travellingAsSlots() {
        List<String> mappings = List.of("W2 EP2", "W2 ETP2", "W4 EP2 ETP2", "W8 TP2 CP2 EP4");
        return Stream.of(DROPLESS, DROPPING).flatMap(settings -> {
            String[] slots = Stream.concat(Stream.of(settings), Stream.of("parallel.dispatch_unit=slot"))
                    .toArray(String[]::new);
            return cases("slots", LawModel.config(settings), slots, mappings);
        });
    }

    /** With as many sequences in a micro-batch as tensor parallel ranks, each has attention of its own while rows travel. */
    @TestFactory
    Stream<DynamicTest> wholeSequences() {
        List<String> mappings = List.of("W2 TP2", "W4 TP4", "W4 TP2 EP4", "W4 TP2 ETP2", "W8 TP2 PP2 V2 EP2");
        return Stream.of(DROPLESS, DROPPING).flatMap(settings -> {
            String[] whole = Stream.concat(Stream.of(settings), Stream.of("train.micro_batch_size=4"))
                    .toArray(String[]::new);
            return cases("whole sequences", LawModel.config(whole), whole, mappings);
        });
    }

    private static Stream<DynamicTest> cases(List<String> mappings) {
        return Stream.concat(
                cases("dropless", LawModel.config(DROPLESS), DROPLESS, mappings),
                cases("dropping", LawModel.config(DROPPING), DROPPING, mappings));
    }

    private static Stream<DynamicTest> cases(
            String name, FourfoldConfig reference, String[] settings, List<String> mappings) {
        Batch batch = TinyModels.batch(reference, reference.train().globalBatchSize(), SEED);
        StepResult[] expected = new StepResult[1];
        return mappings.stream()
                .map(mapping -> DynamicTest.dynamicTest(name + " " + mapping, () -> {
                    if (expected[0] == null) {
                        expected[0] = RankGroup.step(reference, batch);
                    }
                    StepResult actual = RankGroup.step(LawModel.config(settings, LawMappings.settings(mapping)), batch);
                    StepComparison.FP32.compare(expected[0], actual);
                }));
    }
}
