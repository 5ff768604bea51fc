package io.fourfold.kernels.cuda;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.bytedeco.javacpp.BytePointer;

/**
 * A kernel launch with a copy of its arguments.
 *
 * @param grid blocks in x, y and z
 * @param block threads of a block
 * @param arguments values one after the other, each at the byte that {@code starts} says
 * @param node of the graph that was being recorded
 */
record RecordedLaunch(
        CudaFunction function,
        List<Integer> grid,
        int block,
        int sharedBytes,
        byte[] arguments,
        int[] starts,
        long node) {
    /** Where in the arguments a number goes that differs from time to time. */
    record Slot(int at, int number) {}

    /** A launch that does not stay the same, in words. */
    static final class Changes extends RuntimeException {
        private static final long serialVersionUID = 1;

        Changes(String message) {
            super(message);
        }
    }

    private static final int MAP_BYTES = 128;
    private static final int MAP_ALIGNMENT = 64;
    private static final int SCALAR_BYTES = 8;

    static RecordedLaunch of(
            CudaFunction function, List<Integer> grid, int block, int sharedBytes, Object[] values, long node) {
        int[] starts = new int[values.length];
        int end = 0;
        for (int i = 0; i < values.length; i++) {
            int alignment = values[i] instanceof TensorMap ? MAP_ALIGNMENT : SCALAR_BYTES;
            starts[i] = (end + alignment - 1) / alignment * alignment;
            end = starts[i] + size(values[i]);
        }
        ByteBuffer bytes = ByteBuffer.allocate(end).order(ByteOrder.nativeOrder());
        for (int i = 0; i < values.length; i++) {
            put(bytes, starts[i], values[i]);
        }
        return new RecordedLaunch(function, grid, block, sharedBytes, bytes.array(), starts, node);
    }

    private static int size(Object value) {
        return value instanceof int[] struct
                ? struct.length * Integer.BYTES
                : value instanceof TensorMap ? MAP_BYTES : SCALAR_BYTES;
    }

    private static void put(ByteBuffer bytes, int at, Object value) {
        if (value instanceof int[] struct) {
            for (int i = 0; i < struct.length; i++) {
                bytes.putInt(at + i * Integer.BYTES, struct[i]);
            }
        } else if (value instanceof TensorMap map) {
            byte[] encoded = new byte[MAP_BYTES];
            new BytePointer(Addresses.of(map.address())).get(encoded);
            bytes.position(at).put(encoded);
        } else if (!LaunchArguments.putScalar(bytes, at, value)) {
            throw new IllegalArgumentException("the kernel argument " + value + " cannot be recorded");
        }
    }

    /**
     * Where the numbers stand in this launch, from the same launch with other numbers.
     *
     * @throws Changes when anything but a number differs
     */
    List<Slot> slots(RecordedLaunch other, int[] numbers, int[] otherNumbers) {
        if (function != other.function
                || !grid.equals(other.grid)
                || block != other.block
                || sharedBytes != other.sharedBytes
                || !Arrays.equals(starts, other.starts)
                || arguments.length != other.arguments.length) {
            throw new Changes(function.name() + " is not launched alike twice");
        }
        List<Slot> slots = new ArrayList<>();
        ByteBuffer mine = ByteBuffer.wrap(arguments).order(ByteOrder.nativeOrder());
        ByteBuffer others = ByteBuffer.wrap(other.arguments).order(ByteOrder.nativeOrder());
        for (int at = 0; at < arguments.length; at += Integer.BYTES) {
            if (mine.getInt(at) != others.getInt(at)) {
                slots.add(new Slot(at, number(at, mine.getInt(at), others.getInt(at), numbers, otherNumbers)));
            }
        }
        return slots;
    }

    private int number(int at, int value, int otherValue, int[] numbers, int[] otherNumbers) {
        for (int i = 0; i < numbers.length; i++) {
            if (value == numbers[i] && otherValue == otherNumbers[i]) {
                return i;
            }
        }
        int argument = 0;
        while (argument + 1 < starts.length && starts[argument + 1] <= at) {
            argument++;
        }
        throw new Changes("argument " + argument + " of " + function.name() + " changes from step to step");
    }
}
