package io.fourfold.checkpoint;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SortedSet;
import java.util.TreeMap;
import java.util.TreeSet;

/**
 * One complete checkpoint, opened for reading in any cut. As a {@link GlobalTensorSource} it gives weights and state; the
 * moments are read by quantity. Not thread-safe.
 */
public final class Checkpoint implements GlobalTensorSource {
    private static final int BUFFER_BYTES = 1 << 20;

    /** A stored run: its elements start at byte {@code position} of {@code file}. */
    private record Segment(PieceRange range, String file, long position) {}

    private final RunStorage storage;
    private final String folder;
    private final CheckpointManifest manifest;
    private final List<RankIndex> ranks;
    private final Map<Quantity, Map<String, Map<String, Segment>>> segments = new HashMap<>();
    private final Map<String, StorageInput> inputs = new HashMap<>();

    Checkpoint(RunStorage storage, String folder, CheckpointManifest manifest, List<RankIndex> ranks) {
        this.storage = storage;
        this.folder = folder;
        this.manifest = manifest;
        this.ranks = List.copyOf(ranks);
        for (RankIndex rank : ranks) {
            for (RankIndex.Section section : rank.sections()) {
                Map<String, Map<String, Segment>> tensors =
                        segments.computeIfAbsent(section.quantity(), key -> new TreeMap<>());
                for (RankIndex.StoredRun run : rank.layouts().get(section.layout())) {
                    // Replicas that hold the same run are stored once each; the first one serves.
                    String key = Arrays.toString(run.o()) + Arrays.toString(run.e()) + run.f() + ":" + run.l();
                    tensors.computeIfAbsent(run.t(), name -> new TreeMap<>())
                            .putIfAbsent(
                                    key,
                                    new Segment(
                                            run.range(), rank.dataFile(), section.position() + run.a() * Float.BYTES));
                }
            }
        }
    }

    public CheckpointManifest manifest() {
        return manifest;
    }

    public CheckpointManifest.Identity identity() {
        return manifest.identity();
    }

    /** Full path of the checkpoint's folder. */
    public String location() {
        return storage.location() + "/" + folder;
    }

    /** Data files, one per rank that wrote. */
    public int fileCount() {
        return ranks.size();
    }

    /** Bytes of all data files. */
    public long dataBytes() {
        return ranks.stream().mapToLong(RankIndex::dataBytes).sum();
    }

    @Override
    public SortedSet<String> names() {
        SortedSet<String> names = new TreeSet<>(names(Quantity.WEIGHT));
        names.addAll(names(Quantity.STATE));
        return names;
    }

    /** Tensors of which this quantity is stored. */
    public Set<String> names(Quantity quantity) {
        return Collections.unmodifiableSet(
                segments.getOrDefault(quantity, Map.of()).keySet());
    }

    @Override
    public long[] shape(String name) {
        long[] shape = manifest.tensors().get(name);
        if (shape == null) {
            throw new CheckpointException(location() + " has no tensor " + name
                    + ". It was written by another model or version; run 'fourfold inspect' on it.");
        }
        return shape.clone();
    }

    @Override
    public float[] read(String name, long[] offset, long[] extent) {
        Quantity quantity = names(Quantity.WEIGHT).contains(name) ? Quantity.WEIGHT : Quantity.STATE;
        return read(quantity, name, new Box(offset, extent));
    }

    /** Reads a box of one quantity of a tensor in row-major order. */
    public float[] read(Quantity quantity, String name, Box box) {
        long[] shape = shape(name);
        Box whole = new Box(new long[shape.length], shape);
        if (shape.length != box.offset().length || !box.equals(whole.intersect(box))) {
            throw new IllegalArgumentException(box + " leaves " + name + " " + Arrays.toString(shape));
        }
        float[] values = new float[Math.toIntExact(box.elements())];
        long covered = 0;
        for (Segment segment : segments.getOrDefault(quantity, Map.of())
                .getOrDefault(name, Map.of())
                .values()) {
            covered += copy(segment, box, values);
        }
        if (covered != values.length) {
            throw new CheckpointException(location() + " holds " + covered + " of the " + values.length
                    + " elements asked for of " + name + " (" + quantity + ", " + box
                    + "). A rank's part is missing; use an older checkpoint.");
        }
        return values;
    }

    private long copy(Segment segment, Box wanted, float[] values) {
        PieceRange range = segment.range();
        Box holder = new Box(range.offset(), range.extent());
        if (holder.intersect(wanted) == null) {
            return 0;
        }
        long copied = 0;
        for (Box part : range.boxes()) {
            Box common = part.intersect(wanted);
            if (common != null) {
                common.forEachRun(
                        holder,
                        wanted,
                        (from, to, length) -> readRun(
                                segment.file(),
                                segment.position() + (from - range.from()) * Float.BYTES,
                                values,
                                (int) to,
                                (int) length));
                copied += common.elements();
            }
        }
        return copied;
    }

    private void readRun(String file, long position, float[] target, int at, int count) {
        byte[] bytes = new byte[(int) Math.min(BUFFER_BYTES, (long) count * Float.BYTES)];
        ByteBuffer buffer = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
        try {
            StorageInput input = input(file);
            for (int done = 0; done < count; ) {
                int part = Math.min(count - done, bytes.length / Float.BYTES);
                input.readFully(position + (long) done * Float.BYTES, bytes, 0, part * Float.BYTES);
                buffer.clear().asFloatBuffer().get(target, at + done, part);
                done += part;
            }
        } catch (IOException e) {
            throw new CheckpointException("cannot read " + location() + "/" + file + ": " + e.getMessage(), e);
        }
    }

    private StorageInput input(String file) throws IOException {
        StorageInput input = inputs.get(file);
        if (input == null) {
            input = storage.open(folder + "/" + file);
            inputs.put(file, input);
        }
        return input;
    }

    /**
     * Compares data files with their hashes; reads them whole. Rank {@code part} of {@code parts} takes every parts-th file.
     *
     * @throws CheckpointException naming the first file that is truncated or corrupt
     */
    public void verify(int part, int parts) {
        for (int i = part; i < ranks.size(); i += parts) {
            RankIndex rank = ranks.get(i);
            String file = folder + "/" + rank.dataFile();
            try {
                String hash = Sha256.ofFile(input(rank.dataFile()));
                if (!hash.equals(rank.dataSha256())) {
                    throw CheckpointFiles.corrupt(
                            storage, file, "its SHA-256 is " + hash + ", the index says " + rank.dataSha256());
                }
            } catch (IOException e) {
                throw new CheckpointException("cannot read " + location() + "/" + rank.dataFile() + ": " + e, e);
            }
        }
    }

    /** True when both moments are stored for every weight. */
    public boolean hasOptimizer() {
        return new HashSet<>(names(Quantity.MOMENT1)).containsAll(names(Quantity.WEIGHT))
                && new HashSet<>(names(Quantity.MOMENT2)).containsAll(names(Quantity.WEIGHT));
    }

    @Override
    public void close() {
        IOException failure = null;
        for (StorageInput input : inputs.values()) {
            try {
                input.close();
            } catch (IOException e) {
                failure = e;
            }
        }
        inputs.clear();
        if (failure != null) {
            throw new CheckpointException(
                    "cannot close a file of " + location() + ": " + failure.getMessage(), failure);
        }
    }
}
