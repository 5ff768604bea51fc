package io.fourfold.kernels.cuda;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerPointer;

/** Reused native memory for the arguments of a launch: values, and the table of pointers to them that the driver reads. */
final class LaunchArguments implements AutoCloseable {
    private static final int SLOTS = 64;
    private static final int STRUCT_BYTES = 1024;

    private final BytePointer values = new BytePointer(SLOTS * 8L + STRUCT_BYTES);
    private final BytePointer table = new BytePointer(SLOTS * 8L);
    private final ByteBuffer valueBytes = values.asByteBuffer().order(ByteOrder.nativeOrder());
    private final ByteBuffer tableBytes = table.asByteBuffer().order(ByteOrder.nativeOrder());
    /** The table under the type that JavaCPP passes on as it is; of a plain Pointer it would pass the address. */
    private final PointerPointer<Pointer> pointers = new PointerPointer<>(table);

    private final long valuesAddress = values.address();

    /** Writes the arguments and returns the table; the driver copies them during the launch. */
    PointerPointer<Pointer> write(Object[] arguments) {
        if (arguments.length > SLOTS) {
            throw new IllegalArgumentException("a kernel with " + arguments.length + " arguments");
        }
        int structs = SLOTS * 8;
        for (int i = 0; i < arguments.length; i++) {
            Object value = arguments[i];
            int at = i * 8;
            long pointer = valuesAddress + at;
            if (value instanceof int[] struct) {
                pointer = valuesAddress + structs;
                for (int number : struct) {
                    valueBytes.putInt(structs, number);
                    structs += Integer.BYTES;
                }
            } else if (value instanceof TensorMap map) {
                pointer = map.address();
            } else if (!putScalar(valueBytes, at, value)) {
                throw new IllegalArgumentException("kernel argument " + i + " has the unsupported value " + value);
            }
            tableBytes.putLong(at, pointer);
        }
        return pointers;
    }

    /** Writes an address, null or a number of at most 8 bytes; false when the value is none of these. */
    static boolean putScalar(ByteBuffer bytes, int at, Object value) {
        if (value instanceof CudaTensor tensor) {
            bytes.putLong(at, tensor.address());
        } else if (value instanceof Integer number) {
            bytes.putInt(at, number);
        } else if (value instanceof Long number) {
            bytes.putLong(at, number);
        } else if (value instanceof Float number) {
            bytes.putFloat(at, number);
        } else if (value instanceof Double number) {
            bytes.putDouble(at, number);
        } else if (value == CudaFunction.NULL) {
            bytes.putLong(at, 0);
        } else {
            return false;
        }
        return true;
    }

    @Override
    public void close() {
        values.close();
        table.close();
    }
}
