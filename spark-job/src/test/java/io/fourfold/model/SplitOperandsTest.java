package io.fourfold.model;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.Batch;
import io.fourfold.kernels.comm.CommunicationWorld;
import io.fourfold.kernels.cpu.CpuBackend;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import io.fourfold.model.Parameter.Kind;
import io.fourfold.model.RecordingBackend.Operand;
import io.fourfold.parallel.ParallelMapping;
import io.fourfold.parallel.ProcessGroups;
import io.fourfold.parallel.TokenPlacement;
import io.fourfold.precision.LinearKind;
import io.fourfold.precision.Recipe;
import io.fourfold.train.Ranks;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * Linear layers split over tensor and context parallel ranks, given the inputs and gradients that one rank has: all six
 * GEMM operands of every rank must be, bit for bit, parts of that rank's.
 */
class SplitOperandsTest {
    private static final int SAMPLES = 2;
    private static final int SEQUENCE = 256;
    private static final int TOKENS = SAMPLES * SEQUENCE;
    /** Rows of the query, key and value projections. */
    private static final int[] SEGMENTS = {512, 256, 256};

    private static final int OUT = 1024;
    private static final int IN = 256;
    private static final String[] NAMES = {"fprop.w", "dgrad.w", "fprop.x", "wgrad.x", "dgrad.dy", "wgrad.dy"};

    private record Result(TokenPlacement placement, List<Operand> operands) {}

    @ParameterizedTest
    @CsvSource({
        "nvfp4, 2, 1",
        "nvfp4, 1, 2",
        "nvfp4, 2, 2",
        "nvfp4, 4, 4",
        "mxfp4, 2, 2",
        "fp8, 2, 1",
        "bf16, 2, 2",
    })
    void columnParallelOperandsArePartsOfOneRanks(String recipe, int tensor, int context) {
        compare(recipe, tensor, context, true);
    }

    @ParameterizedTest
    @CsvSource({"nvfp4, 2, 1", "nvfp4, 1, 2", "nvfp4, 2, 2", "nvfp4, 4, 4", "mxfp4, 2, 2", "fp8, 2, 1", "bf16, 2, 2"})
    void rowParallelOperandsArePartsOfOneRanks(String recipe, int tensor, int context) {
        compare(recipe, tensor, context, false);
    }

    private static void compare(String recipe, int tensor, int context, boolean byOutput) {
        List<Operand> whole = run(recipe, 1, 1, byOutput).get(0).operands();
        for (Result rank : run(recipe, tensor, context, byOutput)) {
            int[] tokens = rank.placement().contextRows(SAMPLES, SEQUENCE);
            int[] outputs = byOutput ? outputs(rank.placement()) : all(OUT);
            int[] inputs = byOutput ? all(IN) : part(IN, rank.placement());
            int[][] rows = {outputs, inputs, tokens, inputs, tokens, outputs};
            int[][] depths = {inputs, outputs, inputs, tokens, outputs, tokens};
            assertThat(rank.operands()).hasSize(NAMES.length);
            for (int i = 0; i < NAMES.length; i++) {
                float[] expected = select(whole.get(i), rows[i], depths[i]);
                assertThat(Arrays.mismatch(expected, rank.operands().get(i).values()))
                        .as("first difference in %s of rank %s", NAMES[i], rank.placement())
                        .isEqualTo(-1);
            }
        }
    }

    private static float[] select(Operand operand, int[] rows, int[] depths) {
        float[] values = new float[rows.length * depths.length];
        for (int r = 0; r < rows.length; r++) {
            for (int d = 0; d < depths.length; d++) {
                values[r * depths.length + d] = operand.values()[rows[r] * operand.depth() + depths[d]];
            }
        }
        return values;
    }

    private static int[] all(int size) {
        return IntStream.range(0, size).toArray();
    }

    private static int[] part(int size, TokenPlacement placement) {
        int part = size / placement.tensorRanks();
        return IntStream.range(placement.tensorRank() * part, (placement.tensorRank() + 1) * part)
                .toArray();
    }

    private static int[] outputs(TokenPlacement placement) {
        IntStream outputs = IntStream.empty();
        int start = 0;
        for (int segment : SEGMENTS) {
            int first = start;
            outputs = IntStream.concat(
                    outputs, IntStream.of(part(segment, placement)).map(n -> first + n));
            start += segment;
        }
        return outputs.toArray();
    }

    private static List<Result> run(String recipe, int tensor, int context, boolean byOutput) {
        int ranks = tensor * context;
        FourfoldConfig config = TinyModels.config(
                "recipe.kind=" + recipe,
                "model.hidden_size=256",
                "model.vocab_size=32",
                "model.attention={heads: 16, kv_heads: 8, head_dim: 64}",
                "model.ffn={intermediate_size: 512}",
                "model.moe={experts: 4, top_k: 2, intermediate_size: 128}",
                "train.sequence_length=" + SEQUENCE,
                "parallel.world_size=" + ranks,
                "parallel.tensor_parallel_size=" + tensor,
                "parallel.context_parallel_size=" + context);
        return Ranks.run(ranks, world -> rank(config, world, byOutput));
    }

    private static Result rank(FourfoldConfig config, CommunicationWorld world, boolean byOutput) {
        try (RecordingBackend backend = new RecordingBackend(new CpuBackend(1));
                ProcessGroups groups = ProcessGroups.create(ParallelMapping.of(config.parallel()), world);
                TensorScope scope = backend.scope(Region.WORKSPACE)) {
            SequenceParallel ranks = SequenceParallel.of(groups);
            TokenPlacement placement = ranks.placement();
            int[] outputs = byOutput ? outputs(placement) : all(OUT);
            int[] inputs = byOutput ? all(IN) : part(IN, placement);
            int[] own = placement.rows(SAMPLES, SEQUENCE);
            int[] shared = placement.contextRows(SAMPLES, SEQUENCE);
            try (ParameterStore store = new ParameterStore.Builder()
                    .declare(
                            "w",
                            Kind.DENSE,
                            Shape.of(outputs.length, inputs.length),
                            true,
                            List.of(Piece.whole("w", 0, outputs.length, inputs.length)))
                    .build(backend, Map.of())) {
                backend.upload(
                        values(1, OUT, IN, outputs, inputs), store.get("w").weight());
                LinearSplit split =
                        byOutput ? LinearSplit.byOutput(ranks, backend, scope, SEGMENTS) : LinearSplit.byInput(ranks);
                Linear linear = new Linear(
                        backend,
                        LinearFormats.of(Recipe.of(config.recipe(), 2), 0, LinearKind.QKV),
                        store.get("w"),
                        null,
                        split);
                Batch batch = TinyModels.batch(config, SAMPLES, 5);
                StepContext step = SingleRank.step(batch);
                linear.prepare(SingleRank.preparation(backend, scope, step));
                DeviceBatch device = new BatchUpload(backend, ranks, 32).upload(batch, scope);
                Pass pass = new Pass(backend, DType.BF16, device, step, true, scope, null, null);
                Tensor x = matrix(backend, scope, 2, IN, byOutput ? own : shared, inputs);
                Tensor dy = matrix(backend, scope, 3, OUT, byOutput ? shared : own, outputs);
                Tensor y = scope.allocate(DType.BF16, dy.shape());
                var saved = linear.forward(pass, x, y, scope);
                linear.backward(pass, saved, dy, scope.allocate(DType.BF16, x.shape()), false, scope);
                return new Result(placement, List.copyOf(backend.operands()));
            }
        }
    }

    private static Tensor matrix(
            RecordingBackend backend, TensorScope scope, long seed, int width, int[] rows, int[] columns) {
        Tensor exact = scope.allocate(DType.FP32, rows.length, columns.length);
        backend.upload(values(seed, TOKENS, width, rows, columns), exact);
        Tensor rounded = scope.allocate(DType.BF16, exact.shape());
        backend.elementwise().copy(exact, rounded);
        return rounded;
    }

    /** Some rows and columns of a random matrix whose rows have very different magnitudes. */
    private static float[] values(long seed, int rows, int width, int[] chosenRows, int[] chosenColumns) {
        Random random = new Random(seed);
        float[] all = new float[rows * width];
        for (int r = 0; r < rows; r++) {
            double magnitude = Math.exp(random.nextGaussian());
            for (int c = 0; c < width; c++) {
                all[r * width + c] = (float) (magnitude * random.nextGaussian());
            }
        }
        float[] values = new float[chosenRows.length * chosenColumns.length];
        int at = 0;
        for (int r : chosenRows) {
            for (int c : chosenColumns) {
                values[at++] = all[r * width + c];
            }
        }
        return values;
    }
}
