package io.fourfold.checkpoint;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;

/**
 * Reads many short runs of a file in few requests: neighbours are read in one window with what lies between them. A column
 * slice of a stored matrix is a run per row, and an object store answers each request in tens of milliseconds.
 */
final class WindowedReader {
    private static final int WINDOW_BYTES = 4 << 20;
    private static final int GAP_BYTES = 256 << 10;

    /** Bytes at {@code position} of the file go to elements from {@code at} on. */
    private record Run(long position, int at, int elements) {
        long end() {
            return position + (long) elements * Float.BYTES;
        }
    }

    private final StorageInput input;
    private final float[] target;
    private final List<Run> window = new ArrayList<>();
    private byte[] bytes = new byte[0];

    /**
     * @param target receives the values
     */
    WindowedReader(StorageInput input, float[] target) {
        this.input = input;
        this.target = target;
    }

    /** Takes little-endian floats from byte {@code position}; they are there after {@link #finish}. */
    void read(long position, int at, int elements) {
        int most = WINDOW_BYTES / Float.BYTES;
        for (int done = 0; done < elements; done += most) {
            add(new Run(position + (long) done * Float.BYTES, at + done, Math.min(most, elements - done)));
        }
    }

    private void add(Run run) {
        if (!window.isEmpty()) {
            Run first = window.get(0);
            Run last = window.get(window.size() - 1);
            if (run.position() < last.end()
                    || run.position() - last.end() > GAP_BYTES
                    || run.end() - first.position() > WINDOW_BYTES) {
                finish();
            }
        }
        window.add(run);
    }

    /** Reads what is left to read; {@link UncheckedIOException} when the file system fails. */
    void finish() {
        if (window.isEmpty()) {
            return;
        }
        long start = window.get(0).position();
        int length = Math.toIntExact(window.get(window.size() - 1).end() - start);
        if (bytes.length < length) {
            bytes = new byte[length];
        }
        try {
            input.readFully(start, bytes, 0, length);
        } catch (IOException e) {
            throw new UncheckedIOException(e.getMessage(), e);
        }
        ByteBuffer buffer = ByteBuffer.wrap(bytes, 0, length).order(ByteOrder.LITTLE_ENDIAN);
        for (Run run : window) {
            buffer.position((int) (run.position() - start));
            buffer.asFloatBuffer().get(target, run.at(), run.elements());
        }
        window.clear();
    }
}
