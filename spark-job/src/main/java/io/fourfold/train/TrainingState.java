package io.fourfold.train;

import io.fourfold.checkpoint.Box;
import io.fourfold.checkpoint.Checkpoint;
import io.fourfold.checkpoint.CheckpointException;
import io.fourfold.checkpoint.PieceRange;
import io.fourfold.checkpoint.Quantity;
import io.fourfold.checkpoint.ShardLayout;
import io.fourfold.checkpoint.TensorSection;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.model.Parameter;
import io.fourfold.model.ParameterStore;
import io.fourfold.model.Sharding;
import io.fourfold.optim.ShardedAdamW;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;

/**
 * What a checkpoint holds of this rank: weights and moments of its optimizer shards, and state tensors. What several groups
 * of ranks hold is written by the first ({@link PieceOwners}) and read by all. Layouts name global elements only, so a
 * checkpoint of any mapping fills any other.
 */
final class TrainingState {
    private static final int SLICE_ELEMENTS = 1 << 20;

    private final Backend backend;
    private final ParameterStore store;
    private final ShardedAdamW optimizer;
    private final List<TensorSection> shards = new ArrayList<>();
    private final List<TensorSection> written = new ArrayList<>();

    /** Collective over {@code world}. */
    TrainingState(Backend backend, ParameterStore store, ShardedAdamW optimizer, WorldAgreement world) {
        this.backend = backend;
        this.store = store;
        this.optimizer = optimizer;
        PieceOwners owners = PieceOwners.agree(backend, store, optimizer, world);
        for (Parameter.Kind kind : Parameter.Kind.values()) {
            List<Sharding.Slice> slices = optimizer.slices(kind);
            List<Parameter> parameters = store.parameters().stream()
                    .filter(parameter -> parameter.kind() == kind)
                    .toList();
            add(shards, kind, ShardLayout.of(parameters, slices));
            add(written, kind, ShardLayout.of(parameters, slices, piece -> owners.owns(kind, piece)));
        }
        store.state().forEach((name, tensor) -> {
            if (owners.ownsState(name)) {
                written.add(new TensorSection(Quantity.STATE, ShardLayout.whole(name, longs(tensor.shape())), tensor));
            }
        });
    }

    private void add(List<TensorSection> sections, Parameter.Kind kind, ShardLayout layout) {
        sections.add(new TensorSection(Quantity.WEIGHT, layout, optimizer.weights(kind)));
        sections.add(new TensorSection(Quantity.MOMENT1, layout, optimizer.moment1(kind)));
        sections.add(new TensorSection(Quantity.MOMENT2, layout, optimizer.moment2(kind)));
    }

    /** What this rank writes. */
    List<TensorSection> sections() {
        return Collections.unmodifiableList(written);
    }

    /**
     * Fills weights, moments and state; collective, because weights are gathered from the shards. An imported model, a
     * checkpoint of step 0, may lack moments and state: they then start from zero.
     */
    void load(Checkpoint checkpoint) {
        boolean imported = checkpoint.identity().step() == 0;
        boolean moments = checkpoint.hasOptimizer();
        if (!moments && !imported) {
            throw new CheckpointException(
                    checkpoint.location() + " has no optimizer moments, so training cannot continue"
                            + " from it. Use a checkpoint that training wrote.");
        }
        for (TensorSection section : shards) {
            if (section.quantity() != Quantity.WEIGHT && !moments) {
                continue;
            }
            section.layout().shapes().forEach((name, shape) -> requireShape(checkpoint, name, shape));
            for (ShardLayout.Run run : section.layout().runs()) {
                load(checkpoint, section, run);
            }
        }
        for (Map.Entry<String, Tensor> state : store.state().entrySet()) {
            if (imported && !checkpoint.names().contains(state.getKey())) {
                continue;
            }
            requireShape(checkpoint, state.getKey(), longs(state.getValue().shape()));
            backend.upload(checkpoint.readWhole(state.getKey()), state.getValue());
        }
        optimizer.gatherWeights();
    }

    private void load(Checkpoint checkpoint, TensorSection section, ShardLayout.Run run) {
        PieceRange range = run.range();
        for (long from = range.from(); from < range.to(); from += SLICE_ELEMENTS) {
            long to = Math.min(range.to(), from + SLICE_ELEMENTS);
            float[] values = new float[(int) (to - from)];
            int at = 0;
            for (Box box : new PieceRange(range.tensor(), range.offset(), range.extent(), from, to).boxes()) {
                float[] part = checkpoint.read(section.quantity(), range.tensor(), box);
                System.arraycopy(part, 0, values, at, part.length);
                at += part.length;
            }
            section.values().upload(backend, run.at() + from - range.from(), values);
        }
    }

    private static void requireShape(Checkpoint checkpoint, String name, long[] expected) {
        long[] shape = checkpoint.shape(name);
        if (!Arrays.equals(shape, expected)) {
            throw new CheckpointException(checkpoint.location() + " holds " + name + " with shape "
                    + Arrays.toString(shape) + ", the configured model has " + Arrays.toString(expected)
                    + ": it is a checkpoint of another model. Give this run another run.dir.");
        }
    }

    private static long[] longs(Shape shape) {
        return Arrays.stream(shape.dims()).asLongStream().toArray();
    }
}
