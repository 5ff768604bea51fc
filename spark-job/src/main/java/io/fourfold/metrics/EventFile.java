package io.fourfold.metrics;

import java.io.ByteArrayOutputStream;
import java.io.Closeable;
import java.io.IOException;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Locale;
import java.util.Map;
import java.util.zip.CRC32C;

/**
 * A TensorBoard event file: TFRecord frames of Event messages.
 *
 * <p>A frame is the payload's length (8 bytes, little-endian), the masked CRC-32C of these 8 bytes (4 bytes), the payload,
 * the masked CRC-32C of the payload. Masked: rotated right by 15 bits, plus 0xa282ead8 (tensorflow/core/lib/hash/crc32c.h).
 * The messages are those of tensorflow/core/util/event.proto and framework/summary.proto; each record is written by one
 * write, so a kill tears at most the last.
 */
final class EventFile implements Closeable {
    private static final int MASK_DELTA = 0xa282ead8;

    private static final int EVENT_WALL_TIME = 1;
    private static final int EVENT_STEP = 2;
    private static final int EVENT_FILE_VERSION = 3;
    private static final int EVENT_SUMMARY = 5;
    private static final int EVENT_SESSION_LOG = 7;
    private static final int SUMMARY_VALUE = 1;
    private static final int VALUE_TAG = 1;
    private static final int VALUE_SIMPLE = 2;
    private static final int SESSION_STATUS = 1;
    private static final int SESSION_STATUS_START = 1;

    private final Path path;
    private final FileChannel channel;

    private EventFile(Path path, FileChannel channel) {
        this.path = path;
        this.channel = channel;
    }

    /** A new file whose name TensorBoard recognises; never an existing one. */
    static EventFile create(Path folder, double wallTime) throws IOException {
        String base = String.format(Locale.ROOT, "events.out.tfevents.%010d.%s", (long) wallTime, host());
        for (int number = 0; ; number++) {
            Path path = folder.resolve(base + "." + ProcessHandle.current().pid() + "." + number);
            try {
                FileChannel channel = FileChannel.open(path, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE);
                EventFile file = new EventFile(path, channel);
                file.append(
                        new Protobuf().fixed64(EVENT_WALL_TIME, wallTime).text(EVENT_FILE_VERSION, "brain.Event:2"));
                return file;
            } catch (FileAlreadyExistsException e) {
                // A start within the same second: take the next number.
            }
        }
    }

    Path path() {
        return path;
    }

    void sessionStart(double wallTime, int step) throws IOException {
        append(new Protobuf()
                .fixed64(EVENT_WALL_TIME, wallTime)
                .varint(EVENT_STEP, step)
                .message(EVENT_SESSION_LOG, new Protobuf().varint(SESSION_STATUS, SESSION_STATUS_START)));
    }

    void scalars(double wallTime, int step, Map<String, Double> scalars) throws IOException {
        Protobuf summary = new Protobuf();
        scalars.forEach((tag, value) -> summary.message(
                SUMMARY_VALUE, new Protobuf().text(VALUE_TAG, tag).fixed32(VALUE_SIMPLE, value.floatValue())));
        append(new Protobuf()
                .fixed64(EVENT_WALL_TIME, wallTime)
                .varint(EVENT_STEP, step)
                .message(EVENT_SUMMARY, summary));
    }

    private void append(Protobuf event) throws IOException {
        byte[] payload = event.bytes();
        ByteBuffer frame = ByteBuffer.allocate(16 + payload.length).order(ByteOrder.LITTLE_ENDIAN);
        frame.putLong(payload.length);
        frame.putInt(maskedCrc(frame.array(), 0, 8));
        frame.put(payload);
        frame.putInt(maskedCrc(payload, 0, payload.length));
        frame.flip();
        while (frame.hasRemaining()) {
            channel.write(frame);
        }
    }

    static int maskedCrc(byte[] bytes, int offset, int length) {
        CRC32C crc = new CRC32C();
        crc.update(bytes, offset, length);
        return Integer.rotateRight((int) crc.getValue(), 15) + MASK_DELTA;
    }

    private static String host() {
        try {
            return InetAddress.getLocalHost().getHostName().replaceAll("[^A-Za-z0-9_-]", "_");
        } catch (UnknownHostException e) {
            // The name only tells files apart for a person; TensorBoard does not read it.
            return "localhost";
        }
    }

    @Override
    public void close() throws IOException {
        channel.close();
    }

    /** The four protobuf encodings that events need. */
    private static final class Protobuf {
        private static final int WIRE_VARINT = 0;
        private static final int WIRE_FIXED64 = 1;
        private static final int WIRE_BYTES = 2;
        private static final int WIRE_FIXED32 = 5;

        private final ByteArrayOutputStream out = new ByteArrayOutputStream();

        Protobuf varint(int field, long value) {
            key(field, WIRE_VARINT);
            raw(value);
            return this;
        }

        Protobuf fixed64(int field, double value) {
            key(field, WIRE_FIXED64);
            out.writeBytes(ByteBuffer.allocate(8)
                    .order(ByteOrder.LITTLE_ENDIAN)
                    .putDouble(value)
                    .array());
            return this;
        }

        Protobuf fixed32(int field, float value) {
            key(field, WIRE_FIXED32);
            out.writeBytes(ByteBuffer.allocate(4)
                    .order(ByteOrder.LITTLE_ENDIAN)
                    .putFloat(value)
                    .array());
            return this;
        }

        Protobuf text(int field, String value) {
            return bytes(field, value.getBytes(StandardCharsets.UTF_8));
        }

        Protobuf message(int field, Protobuf value) {
            return bytes(field, value.bytes());
        }

        byte[] bytes() {
            return out.toByteArray();
        }

        private Protobuf bytes(int field, byte[] value) {
            key(field, WIRE_BYTES);
            raw(value.length);
            out.writeBytes(value);
            return this;
        }

        private void key(int field, int wireType) {
            raw((long) field << 3 | wireType);
        }

        private void raw(long value) {
            long rest = value;
            while ((rest & ~0x7fL) != 0) {
                out.write((int) (rest & 0x7f | 0x80));
                rest >>>= 7;
            }
            out.write((int) rest);
        }
    }
}
