package io.fourfold.checkpoint;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.model.Parameter;
import io.fourfold.model.ParameterStore;
import io.fourfold.model.Piece;
import java.util.Arrays;
import java.util.Map;

/** Fills the weights and state of a rank from global tensors: for evaluation, generation and training from a model. */
public final class WeightLoader {
    private WeightLoader() {}

    /**
     * Loads every parameter whole. State that the source lacks stays as it is; a missing or differently shaped parameter
     * is a {@link CheckpointException}.
     */
    public static void load(ParameterStore store, Backend backend, GlobalTensorSource source) {
        for (Parameter parameter : store.parameters()) {
            float[] values = new float[Math.toIntExact(parameter.elements())];
            for (Piece piece : parameter.pieces()) {
                requireShape(source, piece.name(), piece.globalShape());
                scatter(source.read(piece.name(), piece.offset(), piece.extent()), piece, values);
            }
            store.setWeights(backend, parameter, 0, values);
        }
        for (Map.Entry<String, Tensor> state : store.state().entrySet()) {
            if (source.names().contains(state.getKey())) {
                backend.upload(source.readWhole(state.getKey()), state.getValue());
            }
        }
    }

    static void requireShape(GlobalTensorSource source, String name, long[] expected) {
        long[] shape = source.shape(name);
        if (!Arrays.equals(shape, expected)) {
            throw new CheckpointException(name + " has shape " + Arrays.toString(shape) + " in the source, but "
                    + Arrays.toString(expected) + " in the configured model: they are different models. Use the model"
                    + " section of the configuration that the source was trained with.");
        }
    }

    private static void scatter(float[] box, Piece piece, float[] values) {
        int rank = piece.extent().length;
        int row = rank == 0 ? 1 : Math.toIntExact(piece.extent()[rank - 1]);
        long[] index = new long[rank];
        for (int from = 0; from < box.length; from += row) {
            long at = piece.localOffset();
            for (int i = 0; i < rank - 1; i++) {
                at += index[i] * piece.localStrides()[i];
            }
            System.arraycopy(box, from, values, Math.toIntExact(at), row);
            for (int i = rank - 2; i >= 0 && ++index[i] == piece.extent()[i]; i--) {
                index[i] = 0;
            }
        }
    }
}
