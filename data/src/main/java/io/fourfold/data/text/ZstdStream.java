package io.fourfold.data.text;

import com.github.luben.zstd.ZstdDecompressCtx;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;

/**
 * Reads zstd frames one after another up to the real end of the stream. The library's own stream takes a file that ends
 * within its second or a later frame for a whole one.
 */
final class ZstdStream extends InputStream {
    private static final int BUFFER = 1 << 17;

    private final InputStream in;
    private final ZstdDecompressCtx context = new ZstdDecompressCtx();
    private final byte[] chunk = new byte[BUFFER];
    private final ByteBuffer source = ByteBuffer.allocateDirect(BUFFER).limit(0);
    private final ByteBuffer plain = ByteBuffer.allocateDirect(BUFFER).limit(0);
    private boolean inFrame;
    private boolean anyFrame;
    private boolean closed;

    ZstdStream(InputStream in) {
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
        while (!plain.hasRemaining()) {
            if (!decompress()) {
                return -1;
            }
        }
        int count = Math.min(length, plain.remaining());
        plain.get(target, from, count);
        return count;
    }

    /** Fills {@code plain} with what comes next, perhaps nothing yet; false at the end. */
    private boolean decompress() throws IOException {
        // A full output may have left decompressed bytes inside the decoder, so ask it before asking the file.
        boolean mayHold = inFrame && plain.limit() == plain.capacity();
        if (!source.hasRemaining() && !mayHold) {
            int count = in.read(chunk, 0, chunk.length);
            if (count <= 0) {
                if (inFrame || !anyFrame) {
                    throw new EOFException("Unexpected end of zstd data");
                }
                return false;
            }
            source.clear().put(chunk, 0, count).flip();
        }
        plain.clear();
        try {
            inFrame = !context.decompressDirectByteBufferStream(plain, source);
        } catch (RuntimeException e) {
            throw new IOException("Damaged zstd data: " + e.getMessage(), e);
        }
        anyFrame = true;
        plain.flip();
        return true;
    }

    @Override
    public void close() throws IOException {
        if (!closed) {
            closed = true;
            context.close();
            in.close();
        }
    }
}
