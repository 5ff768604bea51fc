package io.fourfold.data.shard;

import io.fourfold.data.DataException;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.zip.CRC32C;

/**
 * Collects documents in memory and writes them as one shard. The bytes are a pure function of the documents. Memory: one
 * token type's width per token, times at most 1.5 while growing.
 */
public final class ShardBuilder {
    /** Keeps a shard below 2 GiB, which is what one mapping can hold. */
    public static final long MAX_TOKENS = 1L << 28;

    private static final int CHUNK = 1 << 16;

    private final TokenType type;
    private ByteBuffer values;
    private int[] offsets = new int[1024];
    private int documents;

    public ShardBuilder(TokenType type) {
        this.type = type;
        this.values = allocate(CHUNK);
    }

    private static ByteBuffer allocate(int bytes) {
        return ByteBuffer.allocate(bytes).order(ByteOrder.LITTLE_ENDIAN);
    }

    public int documents() {
        return documents;
    }

    public int tokens() {
        return values.position() / type.bytes();
    }

    /** Appends a document; its last token must end it. */
    public void add(int[] tokens) {
        if (tokens() + (long) tokens.length > 2 * MAX_TOKENS) {
            throw new DataException("A shard cannot hold more than " + 2 * MAX_TOKENS + " tokens");
        }
        reserve(tokens.length);
        for (int token : tokens) {
            if (type == TokenType.INT32) {
                values.putInt(token);
            } else if (token >>> 16 == 0) {
                values.putShort((short) token);
            } else {
                throw new DataException("Token " + token + " does not fit into uint16");
            }
        }
        documents++;
        if (documents == offsets.length) {
            offsets = Arrays.copyOf(offsets, offsets.length + (offsets.length >> 1));
        }
        offsets[documents] = tokens();
    }

    private void reserve(int tokens) {
        long needed = values.position() + (long) tokens * type.bytes();
        if (needed > values.capacity()) {
            long grown = Math.min(Integer.MAX_VALUE - 64L, Math.max(needed, values.capacity() * 3L / 2));
            ByteBuffer larger = allocate(Math.toIntExact(Math.max(grown, needed)));
            larger.put(values.flip());
            values = larger;
        }
    }

    /** Forgets all documents; memory is kept for the next shard. */
    public void clear() {
        values.clear();
        documents = 0;
    }

    /**
     * Writes the shard and returns its entry for the manifest. Does not close {@code out}.
     *
     * @param file name for the entry
     */
    public ShardInfo write(String file, OutputStream out) throws IOException {
        Sink sink = new Sink(out);
        sink.write(ArrowShardFormat.MAGIC);
        sink.pad(8);
        sink.message(ArrowMetadata.schemaMessage(type), 8);
        ArrowMetadata.BodyLayout body = ArrowMetadata.BodyLayout.of(documents, tokens(), type);
        long batchStart = sink.written;
        sink.message(ArrowMetadata.recordBatchMessage(body), ArrowShardFormat.ALIGNMENT);
        int metadataLength = Math.toIntExact(sink.written - batchStart);
        writeOffsets(sink);
        sink.pad(ArrowShardFormat.ALIGNMENT);
        sink.write(values.array(), 0, values.position());
        sink.pad(ArrowShardFormat.ALIGNMENT);
        sink.write(allocate(8).putInt(ArrowShardFormat.CONTINUATION).putInt(0).array());
        ByteBuffer footer = ArrowMetadata.footer(type, batchStart, metadataLength, body.length());
        int footerLength = footer.remaining();
        sink.write(footer.array(), footer.arrayOffset() + footer.position(), footerLength);
        sink.write(allocate(4).putInt(footerLength).array());
        sink.write(ArrowShardFormat.MAGIC);
        return new ShardInfo(file, documents, tokens(), sink.written, sink.sha256(), sink.crc32c());
    }

    private void writeOffsets(Sink sink) throws IOException {
        ByteBuffer chunk = allocate(CHUNK);
        for (int i = 0; i <= documents; i++) {
            chunk.putInt(i == 0 ? 0 : offsets[i]);
            if (!chunk.hasRemaining()) {
                sink.write(chunk.array());
                chunk.clear();
            }
        }
        sink.write(chunk.array(), 0, chunk.position());
    }

    /** Counts and hashes what goes through it. */
    private static final class Sink {
        private final OutputStream out;
        private final MessageDigest sha256;
        private final CRC32C crc32c = new CRC32C();
        private long written;

        Sink(OutputStream out) {
            this.out = out;
            try {
                this.sha256 = MessageDigest.getInstance("SHA-256");
            } catch (NoSuchAlgorithmException e) {
                throw new IllegalStateException("Every Java platform has SHA-256", e);
            }
        }

        void write(byte[] bytes) throws IOException {
            write(bytes, 0, bytes.length);
        }

        void write(byte[] bytes, int from, int length) throws IOException {
            out.write(bytes, from, length);
            sha256.update(bytes, from, length);
            crc32c.update(bytes, from, length);
            written += length;
        }

        void pad(int alignment) throws IOException {
            write(new byte[(int) (-written & (alignment - 1))]);
        }

        /** Continuation mark, metadata length, metadata, and zeros (counted in the length) up to {@code alignment}. */
        void message(ByteBuffer metadata, int alignment) throws IOException {
            long end = written + 8 + metadata.remaining();
            int padding = (int) (-end & (alignment - 1));
            int length = metadata.remaining() + padding;
            write(allocate(8)
                    .putInt(ArrowShardFormat.CONTINUATION)
                    .putInt(length)
                    .array());
            write(metadata.array(), metadata.arrayOffset() + metadata.position(), metadata.remaining());
            write(new byte[padding]);
        }

        String sha256() {
            return HexFormat.of().formatHex(sha256.digest());
        }

        String crc32c() {
            return Checksums.hex(crc32c);
        }
    }
}
