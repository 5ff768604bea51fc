package io.fourfold.train;

import io.fourfold.kernels.tensor.Shape;
import io.fourfold.model.Parameter;
import io.fourfold.model.ParameterStore;
import io.fourfold.model.Piece;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Random;
import java.util.stream.IntStream;

/**
 * A random way to place global tensors on the ranks of a world: stages hold some tensors each (some tensors on two stages);
 * within a stage each kind is cut into parts that several ranks hold alike; a tensor is cut over the parts along one or two
 * dimensions, unevenly too, or whole on each; pieces of equal shape may be fused, one after the other or row by row.
 * Masters may be split into BF16 weights and remainders, and the optimizer's shards may have many slices.
 */
final class RandomLayout {
    /** A tensor of the model. */
    record Global(String name, long[] shape, Parameter.Kind kind, boolean trained) {}

    /** Which boxes of a tensor the parts of a stage hold: cuts[d] parts along dimension d, the rest are copies. */
    private record Cut(Global tensor, int stage, int[] parts) {}

    private final int world;
    private final int stages;
    private final Map<Parameter.Kind, Integer> replicas = new EnumMap<>(Parameter.Kind.class);
    private final List<Cut> cuts = new ArrayList<>();
    private final boolean fused;
    private final boolean split;
    private final long bucketElements;

    RandomLayout(Random random, int world, List<Global> tensors) {
        this.world = world;
        stages = divisor(random, world);
        int stageSize = world / stages;
        for (Parameter.Kind kind : Parameter.Kind.values()) {
            replicas.put(kind, divisor(random, stageSize));
        }
        for (Global tensor : tensors) {
            int first = random.nextInt(stages);
            cuts.add(cut(random, tensor, first));
            if (stages > 1 && random.nextInt(4) == 0) {
                cuts.add(cut(random, tensor, (first + 1) % stages));
            }
        }
        fused = random.nextBoolean();
        split = random.nextBoolean();
        bucketElements = random.nextInt(3) == 0 ? Long.MAX_VALUE : 1 + random.nextInt(300);
    }

    private Cut cut(Random random, Global tensor, int stage) {
        int rank = tensor.shape().length;
        int[] parts = new int[rank];
        Arrays.fill(parts, 1);
        int left = world / stages / copies(tensor.kind());
        if (tensor.trained()) {
            for (int tries = 0; tries < 2; tries++) {
                int dim = random.nextInt(rank);
                int by = divisor(random, left);
                parts[dim] *= by;
                left /= by;
            }
        }
        return new Cut(tensor, stage, parts);
    }

    private int copies(Parameter.Kind kind) {
        return Objects.requireNonNull(replicas.get(kind));
    }

    private static int divisor(Random random, int of) {
        List<Integer> divisors =
                IntStream.rangeClosed(1, of).filter(d -> of % d == 0).boxed().toList();
        return divisors.get(random.nextInt(divisors.size()));
    }

    /** The ranks that hold what {@code rank} holds of a kind. */
    List<Integer> replicas(Parameter.Kind kind, int rank) {
        int stageSize = world / stages;
        int parts = stageSize / copies(kind);
        return IntStream.range(0, world)
                .filter(other -> other / stageSize == rank / stageSize && other % parts == rank % parts)
                .boxed()
                .toList();
    }

    int world() {
        return world;
    }

    ParameterStore.Builder declare(int rank) {
        ParameterStore.Builder builder = new ParameterStore.Builder().buckets(bucketElements);
        builder = split ? builder.splitMasters() : builder;
        int stageSize = world / stages;
        Map<Parameter.Kind, List<Piece>> pieces = new EnumMap<>(Parameter.Kind.class);
        for (Cut cut : cuts) {
            if (cut.stage() != rank / stageSize) {
                continue;
            }
            Global tensor = cut.tensor();
            if (!tensor.trained()) {
                builder.declareState(tensor.name(), Shape.of((int) tensor.shape()[0]));
                continue;
            }
            Piece piece = piece(cut, rank % (stageSize / copies(tensor.kind())));
            if (piece.elements() > 0) {
                pieces.computeIfAbsent(tensor.kind(), kind -> new ArrayList<>()).add(piece);
            }
        }
        for (Map.Entry<Parameter.Kind, List<Piece>> entry : pieces.entrySet()) {
            declare(builder, entry.getKey(), entry.getValue());
        }
        return builder;
    }

    private static Piece piece(Cut cut, int part) {
        long[] shape = cut.tensor().shape();
        long[] offset = new long[shape.length];
        long[] extent = new long[shape.length];
        int rest = part;
        for (int d = 0; d < shape.length; d++) {
            int parts = cut.parts()[d];
            long index = rest % parts;
            rest /= parts;
            offset[d] = shape[d] * index / parts;
            extent[d] = shape[d] * (index + 1) / parts - offset[d];
        }
        return new Piece(cut.tensor().name(), shape, offset, extent, 0, Piece.contiguousStrides(extent));
    }

    private void declare(ParameterStore.Builder builder, Parameter.Kind kind, List<Piece> pieces) {
        for (int i = 0; i < pieces.size(); i++) {
            Piece a = pieces.get(i);
            if (fused && i + 1 < pieces.size()) {
                Piece b = pieces.get(++i);
                int total = (int) (a.elements() + b.elements());
                List<Piece> both = Arrays.equals(a.extent(), b.extent()) && a.extent().length > 1
                        ? List.of(interleaved(a, 0), interleaved(b, 1))
                        : List.of(a, at(b, a.elements(), b.localStrides()));
                builder.declare(a.name() + "+" + b.name(), kind, Shape.of(total), true, both);
            } else {
                builder.declare(a.name(), kind, Shape.of((int) a.elements()), true, List.of(a));
            }
        }
    }

    /** Rows of two pieces alternate. */
    private static Piece interleaved(Piece piece, int which) {
        long[] strides = piece.localStrides().clone();
        long row = strides[0];
        strides[0] = 2 * row;
        return at(piece, which * row, strides);
    }

    private static Piece at(Piece piece, long localOffset, long[] strides) {
        return new Piece(piece.name(), piece.globalShape(), piece.offset(), piece.extent(), localOffset, strides);
    }

    Map<Parameter.Kind, Integer> padding() {
        return replicas;
    }

    @Override
    public String toString() {
        StringBuilder text = new StringBuilder(world + " ranks, " + stages + " stages, replicas " + replicas
                + ", fused " + fused + ", split masters " + split + ", buckets of " + bucketElements);
        cuts.forEach(cut -> text.append("\n  ")
                .append(cut.tensor().name())
                .append(Arrays.toString(cut.tensor().shape()))
                .append(" on stage ")
                .append(cut.stage())
                .append(" in ")
                .append(Arrays.toString(cut.parts())));
        return text.toString();
    }
}
