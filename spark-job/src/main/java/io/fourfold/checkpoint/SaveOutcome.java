package io.fourfold.checkpoint;

import org.jspecify.annotations.Nullable;

/**
 * How a save went; the same on every rank.
 *
 * @param location folder of the new checkpoint; null when it failed
 * @param problem why it failed, or what was left undone after the commit (old checkpoints that could not be deleted)
 */
public record SaveOutcome(
        @Nullable String location, @Nullable String problem) {
    public boolean saved() {
        return location != null;
    }
}
