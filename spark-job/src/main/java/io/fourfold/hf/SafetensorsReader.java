package io.fourfold.hf;

import io.fourfold.config.FailureReason;
import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Arrays;
import java.util.Collections;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * Reads boxes of tensors from one memory-mapped safetensors file. The whole header is checked when the file is opened, so
 * a truncated or damaged file fails there and not in the middle of a read. Thread-safe.
 */
public final class SafetensorsReader implements AutoCloseable {
    /** A buffer holds at most 2 GiB, so the file is mapped in windows; each reaches one element into the next. */
    private static final int WINDOW_BITS = 30;

    private static final int OVERLAP = 8;

    private final Path file;
    private final FileChannel channel;
    private final long fileSize;
    private final SafetensorsHeader header;
    private final MappedByteBuffer[] windows;

    private SafetensorsReader(Path file, FileChannel channel, long fileSize, SafetensorsHeader header) {
        this.file = file;
        this.channel = channel;
        this.fileSize = fileSize;
        this.header = header;
        this.windows = new MappedByteBuffer[(int) ((fileSize >>> WINDOW_BITS) + 1)];
    }

    /** Opens a file and checks its header; throws {@link HfException} naming all that is wrong with it. */
    public static SafetensorsReader open(Path file) {
        FileChannel channel = null;
        try {
            channel = FileChannel.open(file, StandardOpenOption.READ);
            long size = channel.size();
            if (size < Long.BYTES) {
                throw new HfException(file + " has " + size + " bytes: no safetensors file, or truncated");
            }
            ByteBuffer lengthField = read(channel, 0, Long.BYTES);
            int length = SafetensorsHeader.checkedLength(file.toString(), lengthField.getLong(), size);
            byte[] json = read(channel, Long.BYTES, length).array();
            SafetensorsReader reader =
                    new SafetensorsReader(file, channel, size, SafetensorsHeader.parse(file.toString(), json, size));
            channel = null;
            return reader;
        } catch (IOException e) {
            throw new HfException("cannot read " + file + ": " + FailureReason.of(e), e);
        } finally {
            closeQuietly(channel);
        }
    }

    private static ByteBuffer read(FileChannel channel, long position, int bytes) throws IOException {
        ByteBuffer buffer = ByteBuffer.allocate(bytes).order(ByteOrder.LITTLE_ENDIAN);
        while (buffer.hasRemaining()) {
            if (channel.read(buffer, position + buffer.position()) < 0) {
                throw new IOException("the file ended at byte " + (position + buffer.position()));
            }
        }
        return buffer.flip();
    }

    /** Tensor names in the order of their data. */
    public Set<String> names() {
        return Collections.unmodifiableSet(header.tensors().keySet());
    }

    /** The free-form {@code __metadata__}. */
    public Map<String, String> metadata() {
        return Collections.unmodifiableMap(header.metadata());
    }

    public long[] shape(String name) {
        return entry(name).shape().clone();
    }

    /** The element type as written in the header, for example {@code BF16}. */
    public String dtype(String name) {
        return entry(name).dtype();
    }

    /**
     * Reads a box in row-major order; F32, BF16 and F16 convert to float without rounding.
     *
     * @param offset first index in each dimension
     * @param extent size in each dimension; the product must be below 2^31
     */
    public float[] read(String name, long[] offset, long[] extent) {
        SafetensorsHeader.Entry entry = entry(name);
        SafetensorsType type = SafetensorsType.parse(entry.dtype());
        if (type == null) {
            throw new HfException(file + ": tensor " + name + " is " + entry.dtype()
                    + "; weights are read from F32, BF16 and F16 only (quantized checkpoints must be converted first)");
        }
        checkBox(entry, offset, extent);
        float[] values = new float[Math.toIntExact(SafetensorsHeader.elements(extent))];
        if (values.length > 0) {
            copyRuns(entry, type, offset, extent, values);
        }
        return values;
    }

    /** Reads a whole tensor. */
    public float[] readWhole(String name) {
        long[] shape = shape(name);
        return read(name, new long[shape.length], shape);
    }

    private void checkBox(SafetensorsHeader.Entry entry, long[] offset, long[] extent) {
        boolean inside = offset.length == entry.shape().length && extent.length == entry.shape().length;
        for (int d = 0; inside && d < offset.length; d++) {
            inside = offset[d] >= 0 && extent[d] >= 0 && offset[d] <= entry.shape()[d] - extent[d];
        }
        if (!inside) {
            throw new HfException("box at " + Arrays.toString(offset) + " of size " + Arrays.toString(extent)
                    + " does not lie in tensor " + entry.name() + " " + Arrays.toString(entry.shape()) + " of " + file);
        }
    }

    /** Copies runs that are contiguous in the file: the innermost dimensions read whole, and one before them. */
    private void copyRuns(
            SafetensorsHeader.Entry entry, SafetensorsType type, long[] offset, long[] extent, float[] values) {
        long[] shape = entry.shape();
        int outer = shape.length;
        long run = 1;
        while (outer > 0) {
            outer--;
            run *= extent[outer];
            if (extent[outer] != shape[outer]) {
                break;
            }
        }
        long[] index = offset.clone();
        for (int target = 0; target < values.length; target += (int) run) {
            long element = 0;
            for (int d = 0; d < shape.length; d++) {
                element = element * shape[d] + index[d];
            }
            copy(type, header.dataStart() + entry.begin() + element * type.bytes(), values, target, (int) run);
            for (int d = outer - 1; d >= 0 && ++index[d] == offset[d] + extent[d]; d--) {
                index[d] = offset[d];
            }
        }
    }

    private void copy(SafetensorsType type, long position, float[] values, int from, int count) {
        int done = 0;
        while (done < count) {
            long at = position + (long) done * type.bytes();
            ByteBuffer window = window((int) (at >>> WINDOW_BITS));
            int local = (int) (at & (1L << WINDOW_BITS) - 1);
            int fits = Math.min(count - done, (window.limit() - local) / type.bytes());
            for (int i = 0; i < fits; i++) {
                values[from + done + i] = type.get(window, local + i * type.bytes());
            }
            done += fits;
        }
    }

    private synchronized MappedByteBuffer window(int index) {
        MappedByteBuffer window = windows[index];
        if (window == null) {
            long start = (long) index << WINDOW_BITS;
            long size = Math.min(fileSize - start, (1L << WINDOW_BITS) + OVERLAP);
            try {
                window = channel.map(FileChannel.MapMode.READ_ONLY, start, size);
            } catch (IOException e) {
                throw new HfException("cannot map " + file + " at byte " + start + ": " + FailureReason.of(e), e);
            }
            window.order(ByteOrder.LITTLE_ENDIAN);
            windows[index] = window;
        }
        return window;
    }

    private SafetensorsHeader.Entry entry(String name) {
        SafetensorsHeader.Entry entry = header.tensors().get(name);
        if (entry == null) {
            throw new HfException(file + " has no tensor " + name);
        }
        return entry;
    }

    private static void closeQuietly(@Nullable Closeable closeable) {
        if (closeable != null) {
            try {
                closeable.close();
            } catch (IOException e) {
                throw new HfException("cannot close a safetensors file: " + e, e);
            }
        }
    }

    /** Closes the file; the memory maps go when they are garbage collected. */
    @Override
    public void close() {
        closeQuietly(channel);
    }
}
