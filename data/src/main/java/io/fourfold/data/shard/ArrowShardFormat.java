package io.fourfold.data.shard;

import io.fourfold.data.DataException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import org.apache.arrow.flatbuf.Block;
import org.apache.arrow.flatbuf.Buffer;
import org.apache.arrow.flatbuf.Field;
import org.apache.arrow.flatbuf.Footer;
import org.apache.arrow.flatbuf.Int;
import org.apache.arrow.flatbuf.Message;
import org.apache.arrow.flatbuf.RecordBatch;
import org.apache.arrow.flatbuf.Type;

/**
 * Where things are in a shard, an Arrow IPC file (magic, schema message, one record batch, end marker, footer, footer
 * length, magic; Arrow columnar format, "IPC File Format"). Buffers start at multiples of 64 bytes of the file.
 */
final class ArrowShardFormat {
    static final byte[] MAGIC = "ARROW1".getBytes(StandardCharsets.US_ASCII);
    static final int CONTINUATION = 0xFFFFFFFF;
    static final int ALIGNMENT = 64;

    private ArrowShardFormat() {}

    /** Positions of the two buffers in the file, in bytes. */
    record Location(TokenType type, int documents, int tokens, int offsetsStart, int valuesStart) {}

    static long align(long bytes) {
        return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }

    /**
     * Finds the buffers of a whole file.
     *
     * @throws DataException if {@code file} is not a shard; the message has the reason, not the file's name
     */
    static Location locate(ByteBuffer file) {
        try {
            return locateUnchecked(file.duplicate().order(ByteOrder.LITTLE_ENDIAN));
        } catch (IndexOutOfBoundsException | ArithmeticException | IllegalArgumentException e) {
            throw new DataException("its Arrow metadata points outside the file (" + e.getMessage() + ")", e);
        }
    }

    private static Location locateUnchecked(ByteBuffer file) {
        int size = file.limit();
        int tail = Integer.BYTES + MAGIC.length;
        require(
                size >= 2 * tail && hasMagic(file, 0) && hasMagic(file, size - MAGIC.length),
                "it is not an Arrow file");
        int footerLength = file.getInt(size - tail);
        require(footerLength > 0 && footerLength < size - tail, "its footer length is wrong");
        Footer footer = Footer.getRootAsFooter(slice(file, size - tail - footerLength, footerLength));
        require(footer.recordBatchesLength() == 1, "it has " + footer.recordBatchesLength() + " record batches, not 1");
        TokenType type = tokenType(footer);

        Block block = footer.recordBatches(0);
        int start = Math.toIntExact(block.offset());
        int bodyStart = Math.addExact(start, block.metaDataLength());
        int prefix = file.getInt(start) == CONTINUATION ? 2 * Integer.BYTES : Integer.BYTES;
        Message message = Message.getRootAsMessage(slice(file, start + prefix, block.metaDataLength() - prefix));
        RecordBatch batch = (RecordBatch) message.header(new RecordBatch());
        require(
                batch != null && batch.nodesLength() == 2 && batch.buffersLength() == 4,
                "its columns are not a shard's");
        require(batch.compression() == null, "it is compressed and cannot be mapped");
        Buffer offsets = batch.buffers(1);
        Buffer values = batch.buffers(3);
        int documents = Math.toIntExact(batch.length());
        int tokens = Math.toIntExact(batch.nodes(1).length());
        require(documents >= 0 && tokens >= 0, "its counts are negative");
        require(offsets.length() >= (documents + 1L) * Integer.BYTES, "its offsets are cut off");
        require(values.length() >= (long) tokens * type.bytes(), "its tokens are cut off");
        Location location = new Location(
                type,
                documents,
                tokens,
                Math.toIntExact(bodyStart + offsets.offset()),
                Math.toIntExact(bodyStart + values.offset()));
        requireInside(size, location.offsetsStart(), (documents + 1L) * Integer.BYTES);
        requireInside(size, location.valuesStart(), (long) tokens * type.bytes());
        return location;
    }

    private static void requireInside(int size, int start, long length) {
        require(start >= 0 && length >= 0 && start + length <= size, "it is shorter than its metadata says");
    }

    private static TokenType tokenType(Footer footer) {
        require(footer.schema().fieldsLength() == 1, "it has " + footer.schema().fieldsLength() + " columns, not 1");
        Field column = footer.schema().fields(0);
        require(column.typeType() == Type.List && column.childrenLength() == 1, "its column is not a list");
        Field item = column.children(0);
        Int integer = item.typeType() == Type.Int ? (Int) item.type(new Int()) : null;
        if (integer != null && integer.bitWidth() == 16 && !integer.isSigned()) {
            return TokenType.UINT16;
        }
        require(
                integer != null && integer.bitWidth() == 32 && integer.isSigned(),
                "its tokens are not uint16 or int32");
        return TokenType.INT32;
    }

    private static boolean hasMagic(ByteBuffer file, int at) {
        for (int i = 0; i < MAGIC.length; i++) {
            if (file.get(at + i) != MAGIC[i]) {
                return false;
            }
        }
        return true;
    }

    private static ByteBuffer slice(ByteBuffer file, int from, int length) {
        return file.slice(from, length).order(ByteOrder.LITTLE_ENDIAN);
    }

    private static void require(boolean condition, String reason) {
        if (!condition) {
            throw new DataException(reason);
        }
    }
}
