package io.fourfold.plan;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.fourfold.config.ConfigLoader;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.RecipeConfig;
import io.fourfold.data.Batch;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.CommunicationWorld;
import io.fourfold.kernels.comm.InProcessWorld;
import io.fourfold.kernels.cpu.CpuBackend;
import io.fourfold.model.MoeTransformer;
import io.fourfold.model.Parameter;
import io.fourfold.model.Piece;
import io.fourfold.model.StepContext;
import io.fourfold.parallel.ParallelMapping;
import io.fourfold.parallel.ProcessGroups;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.IntStream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What the planner counts is what the model registers, and its memory estimate is near what the model uses. */
class ModelMatchesPlanTest {
    private static final Path CONF = Path.of(System.getProperty("fourfold.root", ".."), "conf");

    private static FourfoldConfig config(String sets) {
        List<String> all = new ArrayList<>(List.of("train.sequence_length=64", "train.micro_batch_size=2"));
        all.addAll(Arrays.stream(sets.split(";"))
                .map(String::strip)
                .filter(s -> !s.isEmpty())
                .toList());
        return ConfigLoader.load(List.of(CONF.resolve("model/tiny-moe.yaml")), all)
                .config();
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                "recipe.kind=nvfp4",
                "recipe.kind=fp32; train.recompute=[norm]",
                "train.recompute=[activation]; model.family=none; model.moe.shared_expert={intermediate_size: 96}",
                "recipe.kind=nvfp4; train.recompute=[norm, activation]",
                "train.recompute=[dispatch]",
                "train.recompute=[attention]",
                "recipe.kind=nvfp4; train.recompute=[expert]",
                "train.recompute=[block]",
                "model.family=none; model.tie_embeddings=true; model.attention.qk_norm=false; model.attention.qkv_bias=true",
                "model.family=none; model.moe.shared_expert={intermediate_size: 96, gated: true}; recipe.kind=fp32",
                "model.family=none; model.layers=3; model.moe.dense_layers=[0]; model.ffn={intermediate_size: 160}",
                "model.family=none; model.moe=null; model.ffn={intermediate_size: 256, activation: relu2}; recipe.kind=mxfp4",
                "model.family=none; model.moe.activation=relu2; model.moe.shared_expert.intermediate_size=32",
            })
    void registeredTensors(String sets) {
        FourfoldConfig config = config(sets);
        try (Backend backend = new CpuBackend(1);
                CommunicationWorld world = InProcessWorld.create(1).get(0);
                ProcessGroups groups = ProcessGroups.create(ParallelMapping.of(config.parallel()), world);
                MoeTransformer model = MoeTransformer.create(config, backend, groups)) {
            Map<String, List<Integer>> planned = new TreeMap<>();
            ModelTensors.of(config.model()).forEach(t -> planned.put(t.name(), t.shape()));
            Map<String, List<Integer>> registered = new TreeMap<>();
            for (Parameter parameter : model.parameters().parameters()) {
                for (Piece piece : parameter.pieces()) {
                    registered.put(
                            piece.name(),
                            Arrays.stream(piece.globalShape())
                                    .mapToObj(Math::toIntExact)
                                    .toList());
                }
            }
            assertThat(registered).isEqualTo(planned);
            long elements = model.parameters().parameters().stream()
                    .mapToLong(Parameter::elements)
                    .sum();
            assertThat(ParameterCount.of(config.model()).total()).isEqualTo(elements);
            checkActivations(config, model);
        }
    }

    private static void checkActivations(FourfoldConfig config, MoeTransformer model) {
        model.initialize(1);
        int samples = config.train().microBatchSize();
        int length = config.train().sequenceLength();
        int[] tokens =
                IntStream.range(0, samples * length).map(i -> i * 7 % 500).toArray();
        int[] positions =
                IntStream.range(0, samples * length).map(i -> i % length).toArray();
        int[] rows = IntStream.range(0, samples * length).toArray();
        Batch batch = new Batch(samples, length, tokens, tokens, new int[tokens.length], positions, rows);
        StepContext step = new StepContext(1, 1, 1.0 / tokens.length, samples, null);
        model.beginStep(step);
        model.forwardBackward(batch, step);
        long planned = Plan.of(config).memory().activations();
        // The model counts two bytes for BF16, as a device would; the CPU backend stores four.
        boolean wide = config.recipe().kind() == RecipeConfig.Kind.FP32;
        double ratio = (double) model.activationBytes() * (wide ? 1 : 2) / planned;
        assertThat(ratio).as("activations in use / planned").isCloseTo(1, within(0.2));
    }
}
