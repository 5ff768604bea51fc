package io.fourfold.data.text;

import java.io.Closeable;
import java.io.IOException;
import java.io.InputStream;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * Splits bytes into lines without ever holding more of a line than permitted: the rest of a longer one is passed over.
 * Lines end with LF or CR LF.
 */
public final class LineReader implements Closeable {
    private static final int BUFFER = 1 << 16;

    private final InputStream in;
    private final int maxBytes;
    private final byte[] buffer = new byte[BUFFER];
    private int position;
    private int limit;
    private byte[] line = new byte[1024];
    private int length;
    private long number;
    private long nextOffset;
    private long offset;
    private long lineBytes;

    /**
     * Reads from where {@code in} stands.
     *
     * @param maxBytes most bytes of one line to keep
     * @param offset position of {@code in} in its file
     */
    public LineReader(InputStream in, int maxBytes, long offset) {
        this.in = in;
        this.maxBytes = maxBytes;
        this.nextOffset = offset;
    }

    /** Goes to the next line; false at the end. */
    public boolean next() throws IOException {
        offset = nextOffset;
        length = 0;
        lineBytes = 0;
        boolean ended = false;
        boolean any = false;
        while (!ended && fill()) {
            any = true;
            int end = position;
            while (end < limit && buffer[end] != '\n') {
                end++;
            }
            keep(end - position);
            ended = end < limit;
            int consumed = end - position + (ended ? 1 : 0);
            nextOffset += consumed;
            position += consumed;
        }
        if (any) {
            number++;
            if (!tooLong() && length > 0 && line[length - 1] == '\r') {
                length--;
            }
        }
        return any;
    }

    private boolean fill() throws IOException {
        if (position == limit) {
            position = 0;
            limit = Math.max(0, in.read(buffer, 0, buffer.length));
        }
        return limit > 0;
    }

    private void keep(int count) {
        lineBytes += count;
        if (lineBytes > maxBytes) {
            length = 0;
            return;
        }
        if (length + count > line.length) {
            int larger = (int) Math.min(Math.max((long) maxBytes, length + count), 2L * (length + count));
            line = Arrays.copyOf(line, larger);
        }
        System.arraycopy(buffer, position, line, length, count);
        length += count;
    }

    /** The line without its end; valid until the next call of {@link #next()}. Null when it is too long. */
    public byte @Nullable [] bytes() {
        return tooLong() ? null : line;
    }

    /** Bytes of {@link #bytes()} that belong to the line. */
    public int length() {
        return length;
    }

    /** True when the line has more than the permitted bytes. */
    public boolean tooLong() {
        return lineBytes > maxBytes;
    }

    /** Bytes of the whole line, kept or not. */
    public long lineBytes() {
        return lineBytes;
    }

    /** Lines read so far; the first is 1. */
    public long number() {
        return number;
    }

    /** Position in the file of the line's first byte. */
    public long offset() {
        return offset;
    }

    @Override
    public void close() throws IOException {
        in.close();
    }
}
