package io.fourfold.train;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import io.fourfold.checkpoint.Checkpoint;
import io.fourfold.checkpoint.CheckpointContents;
import io.fourfold.checkpoint.CheckpointManifest;
import io.fourfold.checkpoint.CheckpointStore;
import io.fourfold.checkpoint.ObjectStore;
import io.fourfold.checkpoint.Retention;
import io.fourfold.checkpoint.SaveOutcome;
import io.fourfold.config.TrainConfig.OptimizerConfig;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.comm.InProcessWorld;
import io.fourfold.kernels.cpu.CpuBackend;
import io.fourfold.kernels.numeric.SplitFloat;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.model.Parameter;
import io.fourfold.model.ParameterStore;
import io.fourfold.model.Piece;
import io.fourfold.model.Sharding;
import io.fourfold.optim.ShardedAdamW;
import io.fourfold.train.RandomLayout.Global;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** What any layout saves, any other loads, bit for bit, masters split or whole, shards of one slice or many, and every element is stored once. */
class AnyLayoutTest {
    private static final OptimizerConfig CONFIG = new OptimizerConfig(0.1, 0, 0.9, 0.95, 1e-8, 0.1, 1);
    private static final int[] WORLDS = {1, 2, 3, 4, 6, 8, 12, 16};

    @Test
    void everyLayoutLoadsWhatAnyOtherSaved() {
        Random random = new Random(17);
        for (int trial = 0; trial < 16; trial++) {
            List<Global> tensors = tensors(random);
            RandomLayout from = new RandomLayout(random, world(random, trial), tensors);
            RandomLayout to = new RandomLayout(random, world(random, trial + 1), tensors);
            ObjectStore storage = new ObjectStore();
            String what = "trial " + trial + "\nfrom " + from + "\nto " + to;
            Ranks.run(from.world(), world -> save(world, from, tensors, storage));
            CheckpointContents contents = new CheckpointStore(storage).contents(1, true);
            for (CheckpointContents.StoredTensor tensor : contents.tensors()) {
                long elements = Arrays.stream(tensor.shape()).reduce(1, (a, b) -> a * b);
                assertThat(tensor.elements().values())
                        .as("%s of %s", tensor.name(), what)
                        .containsOnly(elements);
            }
            assertThat(contents.tensors()).hasSize(tensors.size());
            List<String> wrong = Ranks.run(to.world(), world -> load(world, to, tensors, storage));
            assertThat(wrong).as(what).containsOnly("");
        }
    }

    /** 1 to 16 ranks and back is always among the trials. */
    private static int world(Random random, int trial) {
        return switch (trial) {
            case 0, 2 -> 1;
            case 1 -> 16;
            default -> WORLDS[random.nextInt(WORLDS.length)];
        };
    }

    private static List<Global> tensors(Random random) {
        List<Global> tensors = new ArrayList<>();
        Parameter.Kind[] kinds = Parameter.Kind.values();
        for (int i = 0; i < 8; i++) {
            long[] shape = new long[1 + random.nextInt(3)];
            Arrays.setAll(shape, d -> 1 + random.nextInt(9));
            tensors.add(new Global("t" + i, shape, kinds[random.nextInt(kinds.length)], true));
            if (random.nextBoolean()) {
                // The same shape again, so that there is something to fuse.
                tensors.add(new Global(
                        "u" + i, shape, tensors.get(tensors.size() - 1).kind(), true));
            }
        }
        tensors.add(new Global("state", new long[] {5}, Parameter.Kind.DENSE, false));
        return tensors;
    }

    /** One rank's parameters, optimizer and what a checkpoint sees of them. */
    private static final class Rank implements AutoCloseable {
        final CpuBackend backend = new CpuBackend(1);
        final ParameterStore store;
        final ShardedAdamW optimizer;
        final WorldAgreement agreement;
        final TrainingState state;

        Rank(InProcessWorld world, RandomLayout layout) {
            Communicator everyone = world.group(
                    "world", IntStream.range(0, world.size()).boxed().toList());
            Map<Parameter.Kind, Communicator> replicas = new EnumMap<>(Parameter.Kind.class);
            for (Parameter.Kind kind : Parameter.Kind.values()) {
                List<Integer> group = layout.replicas(kind, world.rank());
                replicas.put(kind, world.group(kind + " of " + group, group));
            }
            store = layout.declare(world.rank()).build(backend, layout.padding(), replicas);
            optimizer = new ShardedAdamW(backend, store, CONFIG, replicas, everyone);
            agreement = new WorldAgreement(backend, everyone);
            state = new TrainingState(backend, store, optimizer, agreement);
        }

        /** What the flat buffer of a kind must hold: values that tell tensor, element and quantity apart. */
        float[] expected(Parameter.Kind kind, List<Global> tensors, int quantity) {
            float[] flat = new float[(int) store.flatWeights(kind).elements()];
            for (Parameter parameter : store.parameters()) {
                if (parameter.kind() == kind) {
                    parameter.pieces().forEach(piece -> fill(flat, parameter, piece, tensors, quantity));
                }
            }
            return flat;
        }

        private static void fill(float[] flat, Parameter parameter, Piece piece, List<Global> tensors, int quantity) {
            long[] strides = Piece.contiguousStrides(piece.globalShape());
            long[] index = new long[strides.length];
            for (long n = 0; n < piece.elements(); n++) {
                long local = parameter.offset() + piece.localOffset();
                long global = 0;
                for (int d = 0; d < index.length; d++) {
                    local += index[d] * piece.localStrides()[d];
                    global += (piece.offset()[d] + index[d]) * strides[d];
                }
                flat[(int) local] = value(piece.name(), global, tensors, quantity);
                for (int d = index.length - 1; d >= 0 && ++index[d] == piece.extent()[d]; d--) {
                    index[d] = 0;
                }
            }
        }

        float[] shard(Parameter.Kind kind, float[] flat) {
            List<Sharding.Slice> slices = optimizer.slices(kind);
            float[] shard = new float[(int) optimizer.moment1(kind).elements()];
            slices.forEach(slice ->
                    System.arraycopy(flat, (int) slice.from(), shard, (int) slice.at(), (int) slice.elements()));
            return shard;
        }

        @Override
        public void close() {
            optimizer.close();
            store.close();
            backend.close();
        }
    }

    private static float value(String name, long element, List<Global> tensors, int quantity) {
        int which = IntStream.range(0, tensors.size())
                .filter(i -> tensors.get(i).name().equals(name))
                .findFirst()
                .orElseThrow();
        return which * 1000 + element + 1 + quantity / 4f;
    }

    private static boolean save(InProcessWorld world, RandomLayout layout, List<Global> tensors, ObjectStore storage) {
        try (Rank rank = new Rank(world, layout)) {
            for (Parameter.Kind kind : Parameter.Kind.values()) {
                float[] weights = rank.expected(kind, tensors, 0);
                for (Parameter parameter : rank.store.parameters()) {
                    if (parameter.kind() == kind) {
                        int from = (int) parameter.offset();
                        int to = from + (int) parameter.elements();
                        rank.store.setWeights(rank.backend, parameter, 0, Arrays.copyOfRange(weights, from, to));
                    }
                }
                rank.backend.upload(rank.shard(kind, rank.expected(kind, tensors, 1)), rank.optimizer.moment1(kind));
                rank.backend.upload(rank.shard(kind, rank.expected(kind, tensors, 2)), rank.optimizer.moment2(kind));
            }
            rank.store.state().forEach((name, tensor) -> rank.backend.upload(state(tensors, name), tensor));
            SaveOutcome outcome = new CheckpointStore(storage)
                    .save(identity(), rank.state.sections(), rank.backend, rank.agreement, Retention.last(1));
            assertThat(outcome.problem()).isNull();
            return outcome.saved();
        }
    }

    /** Says what is wrong on this rank; empty when nothing. */
    private static String load(InProcessWorld world, RandomLayout layout, List<Global> tensors, ObjectStore storage) {
        try (Rank rank = new Rank(world, layout);
                Checkpoint checkpoint = new CheckpointStore(storage).open(1)) {
            rank.state.load(checkpoint);
            StringBuilder wrong = new StringBuilder();
            for (Parameter.Kind kind : Parameter.Kind.values()) {
                float[] weights = rank.expected(kind, tensors, 0);
                compare(
                        wrong,
                        kind + " masters",
                        rank.optimizer.weights(kind).download(rank.backend),
                        rank.shard(kind, weights));
                for (int i = 0;
                        i < weights.length && rank.store.flatWeights(kind).dtype() == DType.BF16;
                        i++) {
                    weights[i] = SplitFloat.head(weights[i]);
                }
                compare(wrong, kind + " weights", rank.backend.download(rank.store.flatWeights(kind)), weights);
                compare(
                        wrong,
                        kind + " moment 1",
                        rank.backend.download(rank.optimizer.moment1(kind)),
                        rank.shard(kind, rank.expected(kind, tensors, 1)));
                compare(
                        wrong,
                        kind + " moment 2",
                        rank.backend.download(rank.optimizer.moment2(kind)),
                        rank.shard(kind, rank.expected(kind, tensors, 2)));
            }
            rank.store
                    .state()
                    .forEach((name, tensor) ->
                            compare(wrong, name, rank.backend.download(tensor), state(tensors, name)));
            return wrong.toString();
        }
    }

    private static void compare(StringBuilder wrong, String what, float[] found, float[] expected) {
        int at = Arrays.mismatch(found, expected);
        if (at >= 0) {
            wrong.append("%s[%d] is %s, not %s; ".formatted(what, at, found[at], expected[at]));
        }
    }

    private static float[] state(List<Global> tensors, String name) {
        float[] values = new float[5];
        for (int i = 0; i < values.length; i++) {
            values[i] = value(name, i, tensors, 3);
        }
        return values;
    }

    private static CheckpointManifest.Identity identity() {
        return new CheckpointManifest.Identity(
                1, 1, 1, 1, "hash", "model", "", Map.of(), JsonNodeFactory.instance.objectNode(), "test", "now");
    }
}
