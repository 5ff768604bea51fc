package io.fourfold.kernels.cpu;

import java.nio.FloatBuffer;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.javacpp.Pointer;
import org.jspecify.annotations.Nullable;

/**
 * Native scratch memory that grows on demand and is reused between calls: where operands go before OpenBLAS sees them.
 * Positions count floats. Contents are lost when it grows. Single-threaded; {@link #close} frees the memory.
 */
final class NativeFloats implements AutoCloseable {
    private @Nullable FloatPointer memory;
    private FloatBuffer buffer = FloatBuffer.allocate(0);

    /** Makes room for {@code floats} values; earlier contents may be lost. */
    void reserve(int floats) {
        if (floats <= buffer.capacity()) {
            return;
        }
        close();
        FloatPointer grown = new FloatPointer(floats);
        memory = grown;
        buffer = grown.asBuffer();
    }

    /** A pointer to position {@code at}, for one native call. */
    FloatPointer pointer(int at) {
        FloatPointer base = memory;
        if (base == null) {
            throw new IllegalStateException("native scratch memory used before reserve()");
        }
        return new FloatPointer(base).position(at);
    }

    void put(int at, float[] source, int offset, int length) {
        buffer.put(at, source, offset, length);
    }

    void get(int at, float[] destination, int offset, int length) {
        buffer.get(at, destination, offset, length);
    }

    /** Packs a strided matrix [rows, cols] densely from position {@code at} on. */
    void putMatrix(int at, float[] source, int offset, int stride, int rows, int cols) {
        if (stride == cols) {
            buffer.put(at, source, offset, rows * cols);
            return;
        }
        for (int r = 0; r < rows; r++) {
            buffer.put(at + r * cols, source, offset + r * stride, cols);
        }
    }

    /** Unpacks a dense matrix [rows, cols] into rows {@code stride} floats apart. */
    void getMatrix(int at, float[] destination, int offset, int stride, int rows, int cols) {
        if (stride == cols) {
            buffer.get(at, destination, offset, rows * cols);
            return;
        }
        for (int r = 0; r < rows; r++) {
            buffer.get(at + r * cols, destination, offset + r * stride, cols);
        }
    }

    void zero(int at, int length) {
        Pointer.memset(pointer(at), 0, (long) length * Float.BYTES);
    }

    @Override
    public void close() {
        FloatPointer old = memory;
        if (old != null) {
            memory = null;
            buffer = FloatBuffer.allocate(0);
            old.close();
        }
    }
}
