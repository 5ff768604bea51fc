package io.fourfold.model;

import io.fourfold.kernels.Backend;
import java.util.Arrays;
import java.util.List;

/**
 * FP32 numbers that lie in several places of the device, counted as if one were behind the other: the weights of an
 * optimizer's shard, which are slices of a flat buffer.
 */
public final class Fp32Parts {
    private final List<Fp32Values> parts;
    /** First element of each part, and the end of the last. */
    private final long[] starts;

    public Fp32Parts(List<Fp32Values> parts) {
        this.parts = List.copyOf(parts);
        starts = new long[parts.size() + 1];
        for (int i = 0; i < parts.size(); i++) {
            starts[i + 1] = starts[i] + parts.get(i).elements();
        }
    }

    public long elements() {
        return starts[parts.size()];
    }

    /** Copies elements {@code [from, from + count)} to the host, waiting for the work that writes them. */
    public float[] download(Backend backend, long from, int count) {
        float[] values = new float[count];
        forEachPart(from, count, (part, at, length) -> {
            float[] some = part.download(backend);
            System.arraycopy(some, 0, values, at, length);
        });
        return values;
    }

    /** All of them. */
    public float[] download(Backend backend) {
        return download(backend, 0, Math.toIntExact(elements()));
    }

    /** As {@link #download(Backend)}, into the first elements of an array. */
    public void download(Backend backend, float[] destination) {
        if (parts.size() == 1) {
            parts.get(0).download(backend, destination);
            return;
        }
        for (int i = 0; i < parts.size(); i++) {
            float[] part = parts.get(i).download(backend);
            System.arraycopy(part, 0, destination, Math.toIntExact(starts[i]), part.length);
        }
    }

    /** Replaces elements from {@code from} on by numbers of the host. */
    public void upload(Backend backend, long from, float[] values) {
        forEachPart(
                from,
                values.length,
                (part, at, length) -> part.upload(backend, Arrays.copyOfRange(values, at, at + length)));
    }

    private interface PartOfRange {
        /**
         * @param part elements of one part
         * @param at where they are in the range
         */
        void accept(Fp32Values part, int at, int length);
    }

    private void forEachPart(long from, int count, PartOfRange action) {
        long end = from + count;
        if (from < 0 || end > elements()) {
            throw new IllegalArgumentException("elements " + from + " to " + end + " of " + elements());
        }
        int found = Arrays.binarySearch(starts, from);
        for (int i = found < 0 ? -found - 2 : found; i < parts.size() && starts[i] < end; i++) {
            long start = Math.max(from, starts[i]);
            int length = (int) (Math.min(end, starts[i + 1]) - start);
            if (length > 0) {
                action.accept(parts.get(i).view(start - starts[i], length), (int) (start - from), length);
            }
        }
    }
}
