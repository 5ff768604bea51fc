package io.fourfold.checkpoint;

import io.fourfold.config.FailureReason;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.EnumMap;
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
    /** A stored run: its elements start at byte {@code position} of {@code file}. */
    private record Segment(PieceRange range, String file, long position) {}

    private final RunStorage storage;
    private final String folder;
    private final CheckpointManifest manifest;
    private final List<RankIndex> ranks;
    private final Map<Quantity, Map<String, List<Segment>>> segments = new HashMap<>();
    private final Map<String, StorageInput> inputs = new HashMap<>();

    Checkpoint(RunStorage storage, String folder, CheckpointManifest manifest, List<RankIndex> ranks) {
        this.storage = storage;
        this.folder = folder;
        this.manifest = manifest;
        this.ranks = List.copyOf(ranks);
        for (RankIndex rank : ranks) {
            for (RankIndex.Section section : rank.sections()) {
                Map<String, List<Segment>> tensors =
                        segments.computeIfAbsent(section.quantity(), key -> new TreeMap<>());
                for (RankIndex.StoredRun run : rank.layouts().get(section.layout())) {
                    tensors.computeIfAbsent(run.t(), name -> new ArrayList<>())
                            .add(new Segment(run.range(), rank.dataFile(), section.position() + run.a() * Float.BYTES));
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
        List<Box> missing = List.of(box);
        for (Segment segment : segments.getOrDefault(quantity, Map.of()).getOrDefault(name, List.of())) {
            if (missing.isEmpty()) {
                break;
            }
            missing = read(segment, box, missing, values);
        }
        if (!missing.isEmpty()) {
            throw new CheckpointException(location() + " lacks " + missing.get(0) + " of " + name + " (" + quantity
                    + ", asked for " + box + "). A rank's part is missing; use an older checkpoint.");
        }
        return values;
    }

    /** Reads what the segment holds of the missing boxes and returns what is missing then: parts may overlap. */
    private List<Box> read(Segment segment, Box wanted, List<Box> missing, float[] values) {
        PieceRange range = segment.range();
        Box holder = new Box(range.offset(), range.extent());
        if (holder.intersect(wanted) == null) {
            return missing;
        }
        try {
            WindowedReader reader = new WindowedReader(input(segment.file()), values);
            List<Box> parts = range.boxes();
            for (Box part : parts) {
                for (Box gap : missing) {
                    Box common = part.intersect(gap);
                    if (common != null) {
                        common.forEachRun(
                                holder,
                                wanted,
                                (from, to, length) -> reader.read(
                                        segment.position() + (from - range.from()) * Float.BYTES, (int) to, (int)
                                                length));
                    }
                }
            }
            reader.finish();
            return Box.minus(missing, parts);
        } catch (IOException | UncheckedIOException e) {
            throw new CheckpointException(
                    "cannot read " + location() + "/" + segment.file() + ": " + FailureReason.of(e), e);
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

    /** What is inside, for people. */
    CheckpointContents contents(boolean verify) {
        return CheckpointContents.of(this, ranks, verify);
    }

    /** Elements stored of a tensor by quantity. */
    Map<Quantity, Long> storedElements(String name) {
        Map<Quantity, Long> stored = new EnumMap<>(Quantity.class);
        segments.forEach((quantity, tensors) -> {
            List<Segment> parts = tensors.getOrDefault(name, List.of());
            if (!parts.isEmpty()) {
                stored.put(
                        quantity,
                        parts.stream()
                                .mapToLong(part -> part.range().elements())
                                .sum());
            }
        });
        return stored;
    }

    /**
     * Compares data files with their hashes; reads them whole. Rank {@code part} of {@code parts} takes every parts-th file.
     *
     * @throws CheckpointException naming the first file that is truncated or corrupt
     */
    public void verify(int part, int parts) {
        for (int i = part; i < ranks.size(); i += parts) {
            verify(ranks.get(i));
        }
    }

    void verify(RankIndex rank) {
        String file = folder + "/" + rank.dataFile();
        try {
            String hash = Sha256.ofFile(input(rank.dataFile()));
            if (!hash.equals(rank.dataSha256())) {
                throw CheckpointFiles.corrupt(
                        storage, file, "its SHA-256 is " + hash + ", the index says " + rank.dataSha256());
            }
        } catch (IOException e) {
            throw new CheckpointException(
                    "cannot read " + location() + "/" + rank.dataFile() + ": " + FailureReason.of(e), e);
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
