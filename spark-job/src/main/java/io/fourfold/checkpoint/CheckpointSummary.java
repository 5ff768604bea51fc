package io.fourfold.checkpoint;

import org.jspecify.annotations.Nullable;

/**
 * A checkpoint in a few lines.
 *
 * @param path its folder
 * @param bytes size of the data files
 * @param files data files: ranks that wrote it
 * @param parameters trained elements, state not counted
 * @param identity null when the checkpoint is unusable
 * @param problem why it is unusable, or null
 */
public record CheckpointSummary(
        int step,
        String path,
        long bytes,
        int files,
        int tensors,
        long parameters,
        boolean optimizer,
        CheckpointManifest.@Nullable Identity identity,
        @Nullable String problem) {
    static CheckpointSummary of(Checkpoint checkpoint) {
        long parameters = checkpoint.names(Quantity.WEIGHT).stream()
                .mapToLong(name -> Box.elements(checkpoint.shape(name)))
                .sum();
        return new CheckpointSummary(
                checkpoint.identity().step(),
                checkpoint.location(),
                checkpoint.dataBytes(),
                checkpoint.fileCount(),
                checkpoint.names().size(),
                parameters,
                checkpoint.hasOptimizer(),
                checkpoint.identity(),
                null);
    }

    static CheckpointSummary unusable(int step, String path, String problem) {
        return new CheckpointSummary(step, path, 0, 0, 0, 0, false, null, problem);
    }
}
