package io.fourfold.hf;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.Map;

/** Writes one safetensors file, streaming, so that memory holds a few rows of one tensor at a time. */
public final class SafetensorsWriter {
    private static final ObjectMapper JSON = new ObjectMapper();
    /** Elements read and converted at once. */
    private static final int CHUNK = 1 << 20;

    private SafetensorsWriter() {}

    /** A tensor to write. */
    public interface Source {
        String name();

        long[] shape();

        /** Reads rows {@code [first, first + count)} of the first dimension, row-major. */
        float[] rows(long first, long count);
    }

    /**
     * Writes a new file.
     *
     * @param tensors written in this order
     * @param type element type of all of them; values round to nearest even
     * @param metadata free-form; transformers expects {@code format = pt}
     */
    public static void write(
            Path file, List<? extends Source> tensors, SafetensorsType type, Map<String, String> metadata)
            throws IOException {
        byte[] header = header(tensors, type, metadata);
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
            ByteBuffer start = ByteBuffer.allocate(Long.BYTES + header.length).order(ByteOrder.LITTLE_ENDIAN);
            writeFully(channel, start.putLong(header.length).put(header).flip());
            for (Source tensor : tensors) {
                writeTensor(channel, tensor, type);
            }
            channel.force(true);
        }
    }

    private static byte[] header(List<? extends Source> tensors, SafetensorsType type, Map<String, String> metadata) {
        ObjectNode root = JSON.createObjectNode();
        if (!metadata.isEmpty()) {
            ObjectNode free = root.putObject("__metadata__");
            metadata.forEach(free::put);
        }
        long position = 0;
        for (Source tensor : tensors) {
            if (root.has(tensor.name())) {
                throw new IllegalArgumentException("tensor " + tensor.name() + " twice in one file");
            }
            ObjectNode entry = root.putObject(tensor.name());
            entry.put("dtype", type.name());
            var shape = entry.putArray("shape");
            for (long d : tensor.shape()) {
                shape.add(d);
            }
            long end = position + SafetensorsHeader.elements(tensor.shape()) * type.bytes();
            entry.putArray("data_offsets").add(position).add(end);
            position = end;
        }
        try {
            // Padded with blanks to a multiple of eight, so that the data is aligned in a mapped file.
            String json = JSON.writeValueAsString(root);
            int bytes = json.getBytes(StandardCharsets.UTF_8).length;
            return (json + " ".repeat(-bytes & 7)).getBytes(StandardCharsets.UTF_8);
        } catch (JsonProcessingException e) {
            throw new IllegalStateException("a safetensors header must serialize", e);
        }
    }

    private static void writeTensor(FileChannel channel, Source tensor, SafetensorsType type) throws IOException {
        long[] shape = tensor.shape();
        long rows = shape.length == 0 ? 1 : shape[0];
        if (SafetensorsHeader.elements(shape) == 0) {
            return;
        }
        long rowElements = SafetensorsHeader.elements(shape) / rows;
        long step = Math.max(1, CHUNK / rowElements);
        for (long row = 0; row < rows; row += step) {
            long count = Math.min(step, rows - row);
            float[] values = tensor.rows(row, count);
            if (values.length != count * rowElements) {
                throw new IllegalStateException("tensor " + tensor.name() + " gave " + values.length + " values for "
                        + count + " rows of " + rowElements);
            }
            for (int from = 0; from < values.length; from += CHUNK) {
                writeFully(channel, encode(values, from, Math.min(values.length, from + CHUNK), type));
            }
        }
    }

    private static ByteBuffer encode(float[] values, int from, int to, SafetensorsType type) {
        ByteBuffer buffer = ByteBuffer.allocate((to - from) * type.bytes()).order(ByteOrder.LITTLE_ENDIAN);
        for (int i = from; i < to; i++) {
            type.put(buffer, values[i]);
        }
        return buffer.flip();
    }

    private static void writeFully(FileChannel channel, ByteBuffer buffer) throws IOException {
        while (buffer.hasRemaining()) {
            channel.write(buffer);
        }
    }
}
