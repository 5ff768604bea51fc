package io.fourfold.hf;

import io.fourfold.checkpoint.GlobalTensorSource;

/** A Hugging Face tensor read from the canonical tensor that holds it. */
record CanonicalSlice(GlobalTensorSource source, HfTensor tensor) implements SafetensorsWriter.Source {
    @Override
    public String name() {
        return tensor.name();
    }

    @Override
    public long[] shape() {
        return tensor.shape();
    }

    @Override
    public float[] rows(long first, long count) {
        long[] extent = tensor.shape().clone();
        long[] offset = new long[extent.length];
        offset[0] = first;
        extent[0] = count;
        if (tensor.expert() < 0) {
            return source.read(tensor.canonical(), offset, extent);
        }
        return source.read(tensor.canonical(), prepend(tensor.expert(), offset), prepend(1, extent));
    }

    private static long[] prepend(long first, long[] rest) {
        long[] all = new long[rest.length + 1];
        all[0] = first;
        System.arraycopy(rest, 0, all, 1, rest.length);
        return all;
    }
}
