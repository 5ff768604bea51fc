package io.fourfold.model;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.config.ContextExchange;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.MoeConfig;
import io.fourfold.data.Batch;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.CommunicationWorld;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.comm.InProcessWorld;
import io.fourfold.kernels.cpu.CpuBackend;
import io.fourfold.kernels.op.RowFormat;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import io.fourfold.model.Parameter.Kind;
import io.fourfold.moe.ExpertLoad;
import io.fourfold.moe.Router;
import io.fourfold.moe.TokenDispatcher;
import io.fourfold.parallel.Axis;
import io.fourfold.parallel.ParallelMapping;
import io.fourfold.parallel.ProcessGroups;
import io.fourfold.parallel.StageLayout;
import io.fourfold.precision.Recipe;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * An MoE block in NVFP4 on ranks that split the experts (EP), each expert (ETP) or both, and on one rank with all sequences.
 * Every expert sees the same rows in the same order with the same row ids: the same scales and random bits, hence the same
 * operands, also when rows travel in NVFP4, and with whole experts the same weight gradients bit for bit, and, where a row travels for every
 * slot, the same outputs. With
 * parts of experts outputs are sums of the parts, rounded to BF16, and some kernels of OpenBLAS (Haswell) add up an element
 * in another order when the matrix has fewer columns: gradients then agree to the last bits of FP32. Another code or scale
 * of one operand would change some of them by percents.
 */
class ExpertQuantizationTest {
    private static final int TOKENS = 64;
    private static final int SEQUENCES = 4;
    private static final String[] SETTINGS = {
        "model.layers=1",
        "model.hidden_size=32",
        "model.moe.intermediate_size=64",
        "train.sequence_length=" + TOKENS,
        "recipe.kind=nvfp4"
    };

    /** Relative, of sums of some hundred products: measured 9e-8. */
    private static final double FP32_SUMS = 1e-6;

    private record Part(float[] output, Map<String, float[]> gradients) {}

    @ParameterizedTest
    @CsvSource({
        "2, 1, slot", "4, 1, slot", "1, 2, slot", "1, 4, slot", "2, 2, slot",
        "2, 1, token", "4, 1, token", "1, 2, token", "1, 4, token", "2, 2, token"
    })
    void expertsQuantizeTheSameHoweverTheyAreSplit(int expertParallel, int expertTensorParallel, String unit)
            throws Exception {
        Part one = run(1, 1, unit).get(0);
        List<Part> parts = run(expertParallel, expertTensorParallel, unit);
        float[] output = new float[one.output().length];
        int share = output.length / parts.size();
        for (int rank = 0; rank < parts.size(); rank++) {
            System.arraycopy(parts.get(rank).output(), 0, output, rank * share, share);
        }
        if (expertTensorParallel == 1 && unit.equals("slot")) {
            assertThat(output).isEqualTo(one.output());
        } else {
            // Each part's or rank's BF16 rows are off by half a unit in the last place of 8 bits, their sum by one.
            assertThat(RelativeError.of(one.output(), output)).isLessThan(1.0 / 256);
        }
        for (String projection : List.of("gate", "up", "down")) {
            String name = ParameterNames.experts(0, projection);
            float[] expected = TinyModels.entry(one.gradients(), name);
            float[] actual = new float[expected.length];
            for (Part part : parts) {
                float[] held = TinyModels.entry(part.gradients(), name);
                for (int i = 0; i < actual.length; i++) {
                    actual[i] += held[i];
                }
            }
            assertThat(actual).as(name).isNotEqualTo(new float[expected.length]);
            if (expertTensorParallel == 1) {
                assertThat(actual).as(name).isEqualTo(expected);
            } else {
                assertThat(RelativeError.of(expected, actual)).as(name).isLessThan(FP32_SUMS);
            }
        }
    }

    private static List<Part> run(int expertParallel, int expertTensorParallel, String unit) throws Exception {
        int ranks = expertParallel * expertTensorParallel;
        FourfoldConfig config = TinyModels.config(join(
                SETTINGS,
                "parallel.world_size=" + ranks,
                "parallel.dispatch_unit=" + unit,
                "parallel.expert_parallel_size=" + expertParallel,
                "parallel.expert_tensor_parallel_size=" + expertTensorParallel));
        ExecutorService threads = Executors.newFixedThreadPool(ranks);
        try {
            List<Future<Part>> futures = new ArrayList<>();
            for (CommunicationWorld world : InProcessWorld.create(ranks)) {
                futures.add(threads.submit(() -> rank(config, world)));
            }
            List<Part> parts = new ArrayList<>();
            for (Future<Part> future : futures) {
                parts.add(future.get());
            }
            return parts;
        } finally {
            threads.shutdownNow();
        }
    }

    private static Part rank(FourfoldConfig config, CommunicationWorld world) {
        MoeConfig moe = Objects.requireNonNull(config.model().moe());
        try (Backend backend = new CpuBackend(1);
                ProcessGroups groups = ProcessGroups.create(ParallelMapping.of(config.parallel()), world);
                TensorScope scope = backend.scope(Region.WORKSPACE)) {
            Communicator expertGroup = groups.get(Axis.EP);
            Communicator tensorGroup = groups.get(Axis.ETP);
            int localExperts = moe.experts() / expertGroup.size();
            ParameterDeclarations declarations = new ParameterDeclarations(
                    config.model(),
                    StageLayout.of(config.model(), config.parallel()).of(0),
                    0,
                    1,
                    expertGroup.rank() * localExperts,
                    localExperts,
                    tensorGroup.rank(),
                    tensorGroup.size());
            ParameterStore.Builder builder = new ParameterStore.Builder();
            declarations.declare(builder);
            try (ParameterStore store = builder.build(backend, Map.of(Kind.DENSE, 1, Kind.EXPERT, 1))) {
                new ParameterInitializer(config.model(), backend, 7).fill(store);
                upload(backend, store.get("layers.0.moe.router").weight(), 8, 1);
                Router router = new Router(backend, moe, null, null);
                TokenDispatcher dispatcher = new TokenDispatcher(
                        backend,
                        expertGroup,
                        tensorGroup,
                        moe.experts(),
                        moe.topK(),
                        config.parallel().dispatchUnit(),
                        RowFormat.NVFP4);
                Recipe recipe = Recipe.of(config.recipe(), 1);
                MoeFfn ffn = new BlockFactory(
                                config.model(),
                                recipe,
                                backend,
                                store,
                                declarations,
                                SequenceParallel.of(groups),
                                ContextExchange.GATHER,
                                tensorGroup,
                                dispatcher,
                                List.of(router))
                        .experts(0, moe, 0);
                int perRank = SEQUENCES / world.size();
                Batch all = TinyModels.batch(config, SEQUENCES, 5);
                Batch batch = TinyModels.slice(all, world.rank() * perRank, perRank);
                float[] output = forwardBackward(config, backend, store, groups, ffn, batch, scope, world.rank());
                return new Part(output, expertGradients(backend, store));
            }
        }
    }

    private static float[] forwardBackward(
            FourfoldConfig config,
            Backend backend,
            ParameterStore store,
            ProcessGroups groups,
            MoeFfn ffn,
            Batch batch,
            TensorScope scope,
            int rank) {
        MoeConfig moe = Objects.requireNonNull(config.model().moe());
        StepContext step = new StepContext(3, 9, 1, SEQUENCES, null);
        ffn.prepare(SingleRank.preparation(backend, scope, step));
        ExpertLoad load = new ExpertLoad(
                backend,
                moe,
                groups.get(Axis.DP_CP),
                scope.zeros(DType.FP32, 1, moe.experts()),
                Collections.singletonList(null),
                Collections.singletonList(null));
        MicroBatchReport report = new MicroBatchReport(scope, batch.tokenCount(), 1, 1, moe.experts(), load);
        DeviceBatch device = new BatchUpload(
                        backend, SequenceParallel.of(groups), config.model().vocabSize())
                .upload(batch, scope);
        Pass pass = new Pass(backend, DType.BF16, device, step, true, scope, report, null);
        Tensor x = rows(backend, scope, config, batch, 4, rank, 2);
        Tensor y = scope.allocate(DType.BF16, x.shape());
        Sublayer.Backward backward = Objects.requireNonNull(ffn.forward(pass, x, y, scope));
        Tensor dy = rows(backend, scope, config, batch, 1000, rank, 3);
        backward.run(dy, scope.allocate(DType.BF16, x.shape()), scope);
        return backend.download(y);
    }

    /** This rank's rows of a matrix over both sequences: multiples of 1/denominator, so that the FP32 router is exact. */
    private static Tensor rows(
            Backend backend,
            TensorScope scope,
            FourfoldConfig config,
            Batch batch,
            int denominator,
            int rank,
            long seed) {
        int hidden = config.model().hiddenSize();
        Tensor whole = scope.allocate(DType.BF16, SEQUENCES * TOKENS, hidden);
        upload(backend, whole, denominator, seed);
        return whole.rows(rank * batch.tokenCount(), (rank + 1) * batch.tokenCount());
    }

    private static void upload(Backend backend, Tensor tensor, int denominator, long seed) {
        Random random = new Random(seed);
        float[] values = new float[Math.toIntExact(tensor.elements())];
        for (int i = 0; i < values.length; i++) {
            values[i] = (float) (random.nextInt(17) - 8) / denominator;
        }
        backend.upload(values, tensor);
    }

    private static Map<String, float[]> expertGradients(Backend backend, ParameterStore store) {
        Map<String, float[]> gradients = new TreeMap<>();
        for (Parameter parameter : store.parameters()) {
            if (parameter.kind() != Kind.EXPERT) {
                continue;
            }
            float[] local = backend.download(parameter.grad());
            for (Piece piece : parameter.pieces()) {
                int size = (int) Arrays.stream(piece.globalShape()).reduce(1, (a, b) -> a * b);
                RankGroup.add(piece, local, gradients.computeIfAbsent(piece.name(), name -> new float[size]));
            }
        }
        return gradients;
    }

    private static String[] join(String[] first, String... second) {
        List<String> all = new ArrayList<>(Arrays.asList(first));
        all.addAll(Arrays.asList(second));
        return all.toArray(String[]::new);
    }
}
