package io.fourfold.checkpoint;

import io.fourfold.kernels.Backend;
import java.nio.FloatBuffer;

/** Where the values of a section are read from when they are written: the device, or a copy on the host. */
@FunctionalInterface
public interface SectionReader {
    /** Fills {@code target} with the section's elements from {@code from} on. */
    void read(TensorSection section, long from, FloatBuffer target);

    /** Reads from the device, slice by slice; only for the thread that the backend serves. */
    static SectionReader of(Backend backend) {
        return (section, from, target) -> target.put(section.values().download(backend, from, target.remaining()));
    }
}
