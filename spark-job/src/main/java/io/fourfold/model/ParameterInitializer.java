package io.fourfold.model;

import io.fourfold.config.ModelConfig;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.tensor.Tensor;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Map;
import java.util.stream.IntStream;

/**
 * Initial values: norms one, biases zero, matrices normal(0, initStd), those that write into the residual stream (attention
 * output and down projections) normal(0, initStd / sqrt(2 * layers)). The value of an element is a pure function of
 * (seed, global tensor name, element index in the global tensor), so every mapping starts from the same model.
 */
final class ParameterInitializer {
    private static final int UPLOAD_ELEMENTS = 1 << 22;
    private static final long GOLDEN_GAMMA = 0x9E3779B97F4A7C15L;

    private final ModelConfig model;
    private final Backend backend;
    private final long seed;

    ParameterInitializer(ModelConfig model, Backend backend, long seed) {
        this.model = model;
        this.backend = backend;
        this.seed = seed;
    }

    void fill(ParameterStore store) {
        for (Parameter parameter : store.parameters()) {
            for (Piece piece : parameter.pieces()) {
                fill(store, parameter, piece);
            }
        }
        for (Map.Entry<String, Tensor> state : store.state().entrySet()) {
            boolean load = state.getKey().endsWith("previous_load");
            backend.elementwise()
                    .fill(state.getValue(), load ? 1f / state.getValue().elements() : 0f);
        }
    }

    /** Rows of a piece are contiguous in both layouts when its last dimension is whole, so they are uploaded in runs. */
    private void fill(ParameterStore store, Parameter parameter, Piece piece) {
        int rank = piece.extent().length;
        int cols = Math.toIntExact(piece.extent()[rank - 1]);
        long rows = piece.elements() / cols;
        long[] globalStrides = Piece.contiguousStrides(piece.globalShape());
        int rowsPerUpload = Math.max(1, UPLOAD_ELEMENTS / cols);
        long row = 0;
        while (row < rows) {
            long start = localOffset(piece, row);
            int run = 1;
            while (run < rowsPerUpload
                    && row + run < rows
                    && localOffset(piece, row + run) == start + (long) run * cols) {
                run++;
            }
            float[] values = new float[run * cols];
            long first = row;
            // Elements depend on nothing but their places, and computing them on one core takes longer than a training
            // step.
            IntStream.range(0, run)
                    .parallel()
                    .forEach(r -> generate(
                            piece.name(), globalOffset(piece, globalStrides, first + r), values, r * cols, cols));
            store.setWeights(backend, parameter, start, values);
            row += run;
        }
    }

    private static long localOffset(Piece piece, long row) {
        return offset(piece.localOffset(), piece.extent(), piece.localStrides(), new long[piece.extent().length], row);
    }

    private static long globalOffset(Piece piece, long[] strides, long row) {
        return offset(0, piece.extent(), strides, piece.offset(), row);
    }

    /** Offset of the first element of row {@code row} of a box; rows count through all dimensions but the last. */
    private static long offset(long base, long[] extent, long[] strides, long[] first, long row) {
        int last = extent.length - 1;
        long offset = base + first[last] * strides[last];
        long rest = row;
        for (int d = last - 1; d >= 0; d--) {
            offset += (first[d] + rest % extent[d]) * strides[d];
            rest /= extent[d];
        }
        return offset;
    }

    private void generate(String name, long firstElement, float[] out, int from, int count) {
        if (name.endsWith("norm.weight")) {
            Arrays.fill(out, from, from + count, 1f);
            return;
        }
        if (name.endsWith(".bias")) {
            return;
        }
        boolean residual = name.endsWith(".o.weight") || name.endsWith(".down.weight");
        double deviation = residual ? model.initStd() / Math.sqrt(2.0 * model.layers()) : model.initStd();
        long key = mix(seed ^ hash(name));
        for (int i = 0; i < count; i++) {
            out[from + i] = (float) (deviation * normal(key, firstElement + i));
        }
    }

    /** FNV-1a, 64 bits. */
    private static long hash(String name) {
        long hash = 0xCBF29CE484222325L;
        for (byte b : name.getBytes(StandardCharsets.UTF_8)) {
            hash = (hash ^ (b & 0xFF)) * 0x100000001B3L;
        }
        return hash;
    }

    /** The finalizer of SplitMix64 (Steele, Lea, Flood 2014). */
    private static long mix(long z) {
        z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
        z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
        return z ^ (z >>> 31);
    }

    /** Standard normal number {@code index} of the stream {@code key}, by inversion. */
    static double normal(long key, long index) {
        long bits = mix(key + (index + 1) * GOLDEN_GAMMA) >>> 11;
        return NormalQuantile.of((bits + 0.5) * 0x1p-53);
    }
}
