package io.fourfold.hf;

/**
 * A tensor of a Hugging Face checkpoint and the box of the canonical tensor it holds. Shapes agree except that one expert
 * of a stacked [E, ...] tensor has no expert dimension on disk.
 *
 * @param name in the safetensors file
 * @param canonical {@link io.fourfold.model.ParameterNames} name
 * @param shape on disk
 * @param expert the slice of the canonical tensor's first dimension; -1 = the whole tensor
 */
record HfTensor(String name, String canonical, long[] shape, int expert) {
    static HfTensor whole(String name, String canonical, long... shape) {
        return new HfTensor(name, canonical, shape, -1);
    }

    static HfTensor expert(String name, String canonical, int expert, long... shape) {
        return new HfTensor(name, canonical, shape, expert);
    }

    long elements() {
        return SafetensorsHeader.elements(shape);
    }
}
