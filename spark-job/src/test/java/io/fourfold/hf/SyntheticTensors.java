package io.fourfold.hf;

import io.fourfold.checkpoint.GlobalTensorSource;
import io.fourfold.config.ModelConfig;
import java.util.Map;
import java.util.Objects;
import java.util.SortedMap;
import java.util.SortedSet;
import java.util.TreeMap;

/**
 * A model whose weights are a pure function of name and element index, so that a test can make again what transformers
 * was shown. Every value is a multiple of a power of two: exact in FP32, and with {@code bits} = 8 in BF16 too.
 */
final class SyntheticTensors implements GlobalTensorSource {
    private final SortedMap<String, long[]> shapes;
    private final int bits;

    SyntheticTensors(ModelConfig model, int bits) {
        this(HfNames.canonicalShapes(model), bits);
    }

    SyntheticTensors(Map<String, long[]> shapes, int bits) {
        this.shapes = new TreeMap<>(shapes);
        this.bits = bits;
    }

    @Override
    public SortedSet<String> names() {
        return (SortedSet<String>) shapes.keySet();
    }

    @Override
    public long[] shape(String name) {
        return Objects.requireNonNull(shapes.get(name), name).clone();
    }

    @Override
    public float[] read(String name, long[] offset, long[] extent) {
        long[] shape = shape(name);
        float[] values = new float[Math.toIntExact(SafetensorsHeader.elements(extent))];
        for (int i = 0; i < values.length; i++) {
            long rest = i;
            long element = 0;
            long stride = 1;
            for (int d = shape.length - 1; d >= 0; d--) {
                element += (offset[d] + rest % extent[d]) * stride;
                rest /= extent[d];
                stride *= shape[d];
            }
            values[i] = value(name, shape, element);
        }
        return values;
    }

    private float value(String name, long[] shape, long element) {
        int steps = 1 << bits;
        float uniform = (float) (Math.floorMod(mix(name.hashCode() * 0x9E3779B97F4A7C15L + element), 2 * steps) - steps)
                / steps;
        if (name.contains("norm")) {
            return 1 + uniform / 4;
        }
        if (name.endsWith("bias")) {
            return uniform / 4;
        }
        // Uniform in +-2^-k, with k such that a row has a norm of about one.
        long fanIn = shape[shape.length - 1];
        return uniform * Math.scalb(1f, -(int) Math.round(Math.log(fanIn / 3.0) / Math.log(4)));
    }

    /** The finalizer of SplitMix64. */
    private static long mix(long z) {
        z = (z ^ z >>> 30) * 0xBF58476D1CE4E5B9L;
        z = (z ^ z >>> 27) * 0x94D049BB133111EBL;
        return z ^ z >>> 31;
    }

    @Override
    public void close() {}
}
