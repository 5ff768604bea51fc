package io.fourfold.checkpoint;

import java.io.IOException;
import java.io.InterruptedIOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.security.DigestOutputStream;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * Writes one rank's sections as a data file, in slices, and describes them. Only elements that a layout names are stored,
 * in the order of the memory; padding and what another rank stores are left out.
 */
final class RankFileWriter {
    private static final int SLICE_ELEMENTS = 1 << 20;

    /** Elements {@code [from, to)} of a section. */
    private record Stretch(long from, long to) {}

    /** A layout as it is stored: positions count stored elements. */
    private record StoredLayout(int index, List<Stretch> stretches, List<RankIndex.StoredRun> runs, long elements) {}

    private final SectionReader reader;
    private final RunStorage storage;
    private final Map<ShardLayout, StoredLayout> byLayout = new IdentityHashMap<>();
    private final List<List<RankIndex.StoredRun>> layouts = new ArrayList<>();
    private final List<RankIndex.Section> sections = new ArrayList<>();
    private final Map<String, long[]> shapes = new TreeMap<>();
    private final ByteBuffer buffer =
            ByteBuffer.allocate(SLICE_ELEMENTS * Float.BYTES).order(ByteOrder.LITTLE_ENDIAN);
    private long position;

    RankFileWriter(SectionReader reader, RunStorage storage) {
        this.reader = reader;
        this.storage = storage;
    }

    /** An interrupt ends it with an {@link InterruptedIOException}. */
    RankIndex write(String folder, String name, int rank, List<TensorSection> tensors) throws IOException {
        MessageDigest digest = Sha256.digest();
        try (OutputStream file = storage.create(folder + "/" + name)) {
            DigestOutputStream out = new DigestOutputStream(file, digest);
            for (TensorSection section : tensors) {
                StoredLayout layout = byLayout.computeIfAbsent(section.layout(), this::stored);
                sections.add(new RankIndex.Section(section.quantity(), layout.index(), position, layout.elements()));
                for (Stretch stretch : layout.stretches()) {
                    copy(section, stretch, out);
                }
            }
            out.flush();
        }
        return new RankIndex(rank, name, position, Sha256.hex(digest), shapes, layouts, sections);
    }

    private StoredLayout stored(ShardLayout layout) {
        List<Stretch> stretches = new ArrayList<>();
        List<RankIndex.StoredRun> runs = new ArrayList<>();
        long elements = 0;
        for (ShardLayout.Run run : layout.runs()) {
            long end = run.at() + run.range().elements();
            int last = stretches.size() - 1;
            if (last >= 0 && stretches.get(last).to() == run.at()) {
                stretches.set(last, new Stretch(stretches.get(last).from(), end));
            } else {
                stretches.add(new Stretch(run.at(), end));
            }
            runs.add(RankIndex.StoredRun.of(run.range(), elements));
            elements += run.range().elements();
        }
        shapes.putAll(layout.shapes());
        layouts.add(runs);
        return new StoredLayout(layouts.size() - 1, stretches, runs, elements);
    }

    private void copy(TensorSection section, Stretch stretch, OutputStream out) throws IOException {
        for (long from = stretch.from(); from < stretch.to(); from += SLICE_ELEMENTS) {
            if (Thread.currentThread().isInterrupted()) {
                throw new InterruptedIOException("the save was cancelled");
            }
            int count = (int) Math.min(SLICE_ELEMENTS, stretch.to() - from);
            buffer.clear();
            reader.read(section, from, buffer.asFloatBuffer().limit(count));
            out.write(buffer.array(), 0, count * Float.BYTES);
            position += (long) count * Float.BYTES;
        }
    }
}
