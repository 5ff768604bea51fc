package io.fourfold.checkpoint;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.security.DigestOutputStream;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** Writes one rank's sections as a data file, in slices, and describes them. */
final class RankFileWriter {
    private static final int SLICE_ELEMENTS = 1 << 20;

    private final Backend backend;
    private final RunStorage storage;
    private final List<ShardLayout> layouts = new ArrayList<>();
    private final List<RankIndex.Section> sections = new ArrayList<>();
    private final Map<String, long[]> shapes = new TreeMap<>();
    private final ByteBuffer buffer =
            ByteBuffer.allocate(SLICE_ELEMENTS * Float.BYTES).order(ByteOrder.LITTLE_ENDIAN);
    private long position;

    RankFileWriter(Backend backend, RunStorage storage) {
        this.backend = backend;
        this.storage = storage;
    }

    RankIndex write(String folder, int rank, List<TensorSection> tensors) throws IOException {
        String name = "rank-%05d.bin".formatted(rank);
        MessageDigest digest = Sha256.digest();
        try (OutputStream file = storage.create(folder + "/" + name)) {
            DigestOutputStream out = new DigestOutputStream(file, digest);
            for (TensorSection section : tensors) {
                sections.add(new RankIndex.Section(
                        section.quantity(),
                        indexOf(section.layout()),
                        position,
                        section.values().elements()));
                copy(section.values(), out);
            }
            out.flush();
        }
        List<List<RankIndex.StoredRun>> runs = layouts.stream()
                .map(layout ->
                        layout.runs().stream().map(RankIndex.StoredRun::of).toList())
                .toList();
        return new RankIndex(rank, name, position, Sha256.hex(digest), shapes, runs, sections);
    }

    @SuppressWarnings("ReferenceEquality") // sections that are cut alike share one layout object
    private int indexOf(ShardLayout layout) {
        for (int i = 0; i < layouts.size(); i++) {
            if (layouts.get(i) == layout) {
                return i;
            }
        }
        layouts.add(layout);
        shapes.putAll(layout.shapes());
        return layouts.size() - 1;
    }

    private void copy(Tensor values, OutputStream out) throws IOException {
        for (long from = 0; from < values.elements(); from += SLICE_ELEMENTS) {
            int count = (int) Math.min(SLICE_ELEMENTS, values.elements() - from);
            float[] slice = backend.download(values.view(from, Shape.of(count)));
            buffer.clear();
            buffer.asFloatBuffer().put(slice, 0, count);
            out.write(buffer.array(), 0, count * Float.BYTES);
            position += (long) count * Float.BYTES;
        }
    }
}
