package io.fourfold.data.text;

import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.util.zip.CRC32;
import java.util.zip.DataFormatException;
import java.util.zip.Inflater;
import java.util.zip.ZipException;

/**
 * Reads gzip members one after another (RFC 1952) up to the real end of the stream. The JDK's own stream asks
 * {@code available()} whether another member follows and silently drops the rest when the answer is 0, which remote file
 * systems give at any time.
 */
final class GzipStream extends InputStream {
    private static final int BUFFER = 1 << 16;
    private static final int MAGIC_0 = 0x1F;
    private static final int MAGIC_1 = 0x8B;
    private static final int DEFLATE = 8;
    private static final int HAS_CRC = 2;
    private static final int HAS_EXTRA = 4;
    private static final int HAS_NAME = 8;
    private static final int HAS_COMMENT = 16;

    private final InputStream in;
    private final byte[] buffer = new byte[BUFFER];
    private int position;
    private int limit;
    private final Inflater inflater = new Inflater(true);
    private final CRC32 crc = new CRC32();
    private boolean inMember;
    private boolean anyMember;

    GzipStream(InputStream in) {
        this.in = in;
    }

    @Override
    public int read() throws IOException {
        byte[] one = new byte[1];
        return read(one, 0, 1) < 0 ? -1 : Byte.toUnsignedInt(one[0]);
    }

    @Override
    public int read(byte[] target, int from, int length) throws IOException {
        if (length == 0) {
            return 0;
        }
        while (inMember || beginMember()) {
            int count = inflate(target, from, length);
            if (count > 0) {
                crc.update(target, from, count);
                return count;
            }
            if (inflater.finished()) {
                endMember();
            } else if (inflater.needsInput()) {
                if (!fill()) {
                    throw new EOFException("Unexpected end of gzip data");
                }
                inflater.setInput(buffer, position, limit - position);
                position = limit;
            } else {
                throw new ZipException("Gzip data asks for a dictionary");
            }
        }
        return -1;
    }

    private int inflate(byte[] target, int from, int length) throws ZipException {
        try {
            return inflater.inflate(target, from, length);
        } catch (DataFormatException e) {
            ZipException damaged = new ZipException("Damaged gzip data: " + e.getMessage());
            damaged.initCause(e);
            throw damaged;
        }
    }

    /** Reads a header; false at the end of the stream, which may be padded with zeros. */
    private boolean beginMember() throws IOException {
        int first = next();
        while (anyMember && first == 0) {
            first = next();
        }
        if (first < 0 && anyMember) {
            return false;
        }
        if (first != MAGIC_0 || required() != MAGIC_1 || required() != DEFLATE) {
            throw new ZipException("Not gzip data");
        }
        int flags = required();
        skip(6);
        if ((flags & HAS_EXTRA) != 0) {
            skip(required() | required() << 8);
        }
        if ((flags & HAS_NAME) != 0) {
            skipText();
        }
        if ((flags & HAS_COMMENT) != 0) {
            skipText();
        }
        if ((flags & HAS_CRC) != 0) {
            skip(2);
        }
        inflater.reset();
        crc.reset();
        inMember = true;
        anyMember = true;
        return true;
    }

    private void endMember() throws IOException {
        position = limit - inflater.getRemaining();
        long checksum = littleEndian();
        long size = littleEndian();
        if (checksum != crc.getValue() || size != (inflater.getBytesWritten() & 0xFFFFFFFFL)) {
            throw new ZipException("Damaged gzip data: its checksum does not match");
        }
        inMember = false;
    }

    private long littleEndian() throws IOException {
        long value = 0;
        for (int shift = 0; shift < Integer.SIZE; shift += Byte.SIZE) {
            value |= (long) required() << shift;
        }
        return value;
    }

    private void skip(int bytes) throws IOException {
        for (int i = 0; i < bytes; i++) {
            required();
        }
    }

    private void skipText() throws IOException {
        int last;
        do {
            last = required();
        } while (last != 0);
    }

    private int required() throws IOException {
        int value = next();
        if (value < 0) {
            throw new EOFException("Unexpected end of gzip data");
        }
        return value;
    }

    private int next() throws IOException {
        return fill() ? Byte.toUnsignedInt(buffer[position++]) : -1;
    }

    private boolean fill() throws IOException {
        if (position == limit) {
            position = 0;
            limit = Math.max(0, in.read(buffer, 0, buffer.length));
        }
        return position < limit;
    }

    @Override
    public void close() throws IOException {
        inflater.end();
        in.close();
    }
}
