package io.fourfold.hf;

import io.fourfold.checkpoint.CheckpointException;
import io.fourfold.checkpoint.GlobalTensorSource;
import io.fourfold.config.ModelConfig;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SortedSet;
import java.util.TreeSet;

/** The tensors of a Hugging Face folder under their canonical names, the experts of a block stacked. */
final class HfTensorSource implements GlobalTensorSource {
    private record Located(HfTensor tensor, SafetensorsReader reader) {
        float[] read(long[] offset, long[] extent) {
            return reader.read(tensor.name(), offset, extent);
        }
    }

    private final List<SafetensorsReader> readers;
    private final Map<String, long[]> shapes;
    private final Map<String, List<Located>> parts = new HashMap<>();
    private final String location;

    private HfTensorSource(String location, List<SafetensorsReader> readers, Map<String, long[]> shapes) {
        this.location = location;
        this.readers = List.copyOf(readers);
        this.shapes = shapes;
    }

    /** Checks names and shapes; throws {@link HfException} naming all that do not fit. */
    static HfTensorSource create(Path folder, ModelConfig model, List<SafetensorsReader> readers) {
        List<String> problems = new ArrayList<>();
        Map<String, SafetensorsReader> found = new LinkedHashMap<>();
        for (SafetensorsReader reader : readers) {
            for (String name : reader.names()) {
                if (found.put(name, reader) != null) {
                    problems.add(name + " is in two files");
                }
            }
        }
        HfTensorSource source = new HfTensorSource(folder.toString(), readers, HfNames.canonicalShapes(model));
        for (HfTensor tensor : HfNames.tensors(model)) {
            SafetensorsReader reader = found.remove(tensor.name());
            if (reader == null) {
                problems.add(tensor.name() + " is missing");
            } else if (!Arrays.equals(reader.shape(tensor.name()), tensor.shape())) {
                problems.add(tensor.name() + " is " + Arrays.toString(reader.shape(tensor.name()))
                        + ", config.json says " + Arrays.toString(tensor.shape()));
            } else {
                source.parts
                        .computeIfAbsent(tensor.canonical(), name -> new ArrayList<>())
                        .add(new Located(tensor, reader));
            }
        }
        for (String name : found.keySet()) {
            if (!isRedundant(name, model)) {
                problems.add(name + " is not known for this architecture");
            }
        }
        if (!problems.isEmpty()) {
            throw HfException.of(
                    "the tensors of " + folder + " do not fit its config.json",
                    problems,
                    "Files and config.json must come from the same model.");
        }
        return source;
    }

    /** Old checkpoints store the rotary frequencies, and some a copy of a tied head. */
    private static boolean isRedundant(String name, ModelConfig model) {
        return name.endsWith("rotary_emb.inv_freq") || model.tieEmbeddings() && name.equals("lm_head.weight");
    }

    @Override
    public SortedSet<String> names() {
        return new TreeSet<>(shapes.keySet());
    }

    @Override
    public long[] shape(String name) {
        long[] shape = shapes.get(name);
        if (shape == null) {
            throw new CheckpointException(location + " has no tensor " + name);
        }
        return shape.clone();
    }

    @Override
    public float[] read(String name, long[] offset, long[] extent) {
        long[] shape = shape(name);
        List<Located> located = parts.getOrDefault(name, List.of());
        if (located.get(0).tensor().expert() < 0) {
            return located.get(0).read(offset, extent);
        }
        if (offset.length != 3 || extent.length != 3 || offset[0] < 0 || offset[0] + extent[0] > shape[0]) {
            throw new IllegalArgumentException("box at " + Arrays.toString(offset) + " of size "
                    + Arrays.toString(extent) + " leaves " + name + " " + Arrays.toString(shape));
        }
        float[] values = new float[Math.toIntExact(SafetensorsHeader.elements(extent))];
        long[] innerOffset = {offset[1], offset[2]};
        long[] innerExtent = {extent[1], extent[2]};
        int each = Math.toIntExact(extent[1] * extent[2]);
        for (int i = 0; i < extent[0]; i++) {
            float[] expert = located.get((int) offset[0] + i).read(innerOffset, innerExtent);
            System.arraycopy(expert, 0, values, i * each, each);
        }
        return values;
    }

    @Override
    public void close() {
        readers.forEach(SafetensorsReader::close);
    }
}
