package io.fourfold.checkpoint;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * What one checkpoint holds, for people and for {@code --json}.
 *
 * @param path its folder
 * @param identity run, model, mapping and position in training
 * @param bytes size of the data files
 * @param tensors by name
 * @param files one per rank that wrote
 */
public record CheckpointContents(
        String path,
        CheckpointManifest.Identity identity,
        long bytes,
        List<StoredTensor> tensors,
        List<StoredFile> files) {
    /** Whether a file's contents are what was written. */
    public enum HashState {
        /** The data was not read; length and index are right. */
        NOT_CHECKED,
        VERIFIED,
        DAMAGED
    }

    /**
     * One global tensor.
     *
     * @param elements stored FP32 elements by quantity; more than the shape has when ranks stored a part twice
     * @param bytes of all quantities
     */
    public record StoredTensor(String name, long[] shape, Map<Quantity, Long> elements, long bytes) {}

    /**
     * One rank's data file.
     *
     * @param runs contiguous parts of tensors in it, of all quantities
     * @param problem what is wrong with it, or empty
     */
    public record StoredFile(
            int rank, String name, long bytes, String sha256, int tensors, int runs, HashState hash, String problem) {}

    static CheckpointContents of(Checkpoint checkpoint, List<RankIndex> ranks, boolean verify) {
        List<StoredTensor> tensors = new ArrayList<>();
        checkpoint.manifest().tensors().keySet().stream().sorted().forEach(name -> {
            Map<Quantity, Long> elements = checkpoint.storedElements(name);
            long sum = elements.values().stream().mapToLong(Long::longValue).sum();
            tensors.add(new StoredTensor(name, checkpoint.shape(name), elements, sum * Float.BYTES));
        });
        List<StoredFile> files =
                ranks.stream().map(rank -> file(checkpoint, rank, verify)).toList();
        return new CheckpointContents(
                checkpoint.location(), checkpoint.identity(), checkpoint.dataBytes(), tensors, files);
    }

    private static StoredFile file(Checkpoint checkpoint, RankIndex rank, boolean verify) {
        HashState state = HashState.NOT_CHECKED;
        String problem = "";
        if (verify) {
            try {
                checkpoint.verify(rank);
                state = HashState.VERIFIED;
            } catch (CheckpointException e) {
                state = HashState.DAMAGED;
                problem = String.valueOf(e.getMessage());
            }
        }
        int runs = rank.sections().stream()
                .mapToInt(section -> rank.layouts().get(section.layout()).size())
                .sum();
        return new StoredFile(
                rank.rank(),
                rank.dataFile(),
                rank.dataBytes(),
                rank.dataSha256(),
                rank.shapes().size(),
                runs,
                state,
                problem);
    }
}
