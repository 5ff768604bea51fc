package io.fourfold.checkpoint;

import io.fourfold.kernels.Backend;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;

/**
 * A copy of sections in host memory, so that training goes on while they are written. The buffers are allocated by the
 * first capture and used again by the next ones. Captures and reads must not overlap; that is the caller's affair.
 */
public final class HostSnapshot implements SectionReader {
    private final List<float[]> buffers = new ArrayList<>();
    private final Map<TensorSection, float[]> copies = new IdentityHashMap<>();

    /** Copies the sections' values, waiting for all work that writes them. */
    public void capture(Backend backend, List<TensorSection> sections) {
        copies.clear();
        for (int i = 0; i < sections.size(); i++) {
            TensorSection section = sections.get(i);
            float[] buffer = buffer(i, Math.toIntExact(section.values().elements()));
            section.values().download(backend, buffer);
            copies.put(section, buffer);
        }
    }

    private float[] buffer(int i, int elements) {
        if (i == buffers.size()) {
            buffers.add(new float[elements]);
        } else if (buffers.get(i).length < elements) {
            buffers.set(i, new float[elements]);
        }
        return buffers.get(i);
    }

    @Override
    public void read(TensorSection section, long from, FloatBuffer target) {
        float[] copy = copies.get(section);
        if (copy == null) {
            throw new IllegalStateException(
                    "a section of " + section.layout().shapes().keySet() + " was not captured");
        }
        target.put(copy, Math.toIntExact(from), target.remaining());
    }
}
