package io.fourfold.kernels.comm;

import io.fourfold.kernels.comm.CollectiveCall.Kind;
import io.fourfold.kernels.cpu.CpuTensor;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import java.nio.ByteBuffer;
import java.nio.ShortBuffer;
import org.jspecify.annotations.Nullable;

/**
 * How calls and tensor elements look on a connection. All numbers are little-endian; FP32 and INT32 take four bytes, BF16
 * the upper two of its FP32 pattern, which loses nothing.
 *
 * <p>A header is: int length of what follows, byte kind ({@link Kind} ordinal, or {@link #MESSAGE}), byte reduction + 1 or
 * 0, int root, byte type + 1 or 0, int dimensions, the dimensions, and two count arrays, each an int length (-1 if there
 * is none) and its longs.
 */
final class WireFormat {
    /** Kind of a point-to-point message. */
    private static final byte MESSAGE = -1;

    private static final int FIXED_BYTES = 4 + 1 + 1 + 4 + 1 + 4 + 4 + 4;

    private final short[] halves = new short[4096];

    /**
     * What a peer does next.
     *
     * @param call a collective; for a message its tensor only, with kind null
     * @param kind null for a message
     */
    record Header(@Nullable Kind kind, CollectiveCall call) {
        boolean isMessage() {
            return kind == null;
        }
    }

    static ByteBuffer header(CollectiveCall call) {
        return header((byte) call.kind().ordinal(), call);
    }

    static ByteBuffer messageHeader(CpuTensor tensor) {
        return header(MESSAGE, CollectiveCall.of(Kind.BARRIER, null, tensor));
    }

    private static ByteBuffer header(byte kind, CollectiveCall call) {
        CpuTensor tensor = call.send();
        int[] dims = tensor == null ? new int[0] : tensor.shape().dims();
        int length = FIXED_BYTES + 4 * dims.length + 8 * (length(call.sendCounts()) + length(call.receiveCounts()));
        ByteBuffer out = TcpLink.buffer(length);
        ReduceOp reduce = call.reduce();
        out.putInt(length - 4).put(kind).put((byte) (reduce == null ? 0 : reduce.ordinal() + 1));
        out.putInt(call.root());
        out.put((byte) (tensor == null ? 0 : tensor.dtype().ordinal() + 1));
        out.putInt(dims.length);
        for (int dim : dims) {
            out.putInt(dim);
        }
        putCounts(out, call.sendCounts());
        putCounts(out, call.receiveCounts());
        return out.flip();
    }

    private static int length(long @Nullable [] counts) {
        return counts == null ? 0 : counts.length;
    }

    private static void putCounts(ByteBuffer out, long @Nullable [] counts) {
        out.putInt(counts == null ? -1 : counts.length);
        if (counts != null) {
            out.asLongBuffer().put(counts);
            out.position(out.position() + 8 * counts.length);
        }
    }

    /**
     * Takes a header if all of it is there.
     *
     * @throws IllegalStateException when the bytes cannot be a header
     */
    static @Nullable Header takeHeader(ByteBuffer in) {
        if (in.remaining() < 4) {
            return null;
        }
        int length = in.getInt(in.position());
        if (length < FIXED_BYTES - 4 || length > in.capacity() - 4) {
            throw new IllegalStateException("a header of " + length + " bytes");
        }
        if (in.remaining() < 4 + length) {
            return null;
        }
        in.getInt();
        byte kind = in.get();
        byte reduce = in.get();
        int root = in.getInt();
        byte type = in.get();
        int[] dims = new int[checked(in.getInt(), in.remaining() / 4)];
        for (int i = 0; i < dims.length; i++) {
            dims[i] = in.getInt();
        }
        // The tensor stands for what the peer holds: a type and a shape without elements.
        CpuTensor tensor = type == 0 ? null : new CpuTensor(DType.values()[type - 1], new Shape(dims), null, null, 0);
        ReduceOp op = reduce == 0 ? null : ReduceOp.values()[reduce - 1];
        Kind collective = kind == MESSAGE ? null : Kind.values()[kind];
        Kind shown = collective == null ? Kind.BARRIER : collective;
        return new Header(collective, new CollectiveCall(shown, op, root, tensor, takeCounts(in), takeCounts(in)));
    }

    private static long @Nullable [] takeCounts(ByteBuffer in) {
        int length = in.getInt();
        if (length < 0) {
            return null;
        }
        long[] counts = new long[checked(length, in.remaining() / 8)];
        for (int i = 0; i < length; i++) {
            counts[i] = in.getLong();
        }
        return counts;
    }

    private static int checked(int length, int limit) {
        if (length < 0 || length > limit) {
            throw new IllegalStateException("a header with an array of " + length);
        }
        return length;
    }

    /** Puts as many of the elements as fit; returns how many. */
    int put(ByteBuffer out, CpuTensor tensor, int from, int length) {
        int n = Math.min(length, out.remaining() / tensor.dtype().bytes());
        int at = tensor.offset() + from;
        switch (tensor.dtype()) {
            case FP32 -> out.asFloatBuffer().put(tensor.floats(), at, n);
            case INT32 -> out.asIntBuffer().put(tensor.ints(), at, n);
            case BF16 -> putHalves(out.asShortBuffer(), tensor.floats(), at, n);
            case INT16 -> throw unsent(tensor);
        }
        out.position(out.position() + n * tensor.dtype().bytes());
        return n;
    }

    /** Takes as many of the elements as are there; returns how many. */
    int take(ByteBuffer in, CpuTensor tensor, int from, int length) {
        int n = Math.min(length, in.remaining() / tensor.dtype().bytes());
        int at = tensor.offset() + from;
        switch (tensor.dtype()) {
            case FP32 -> in.asFloatBuffer().get(tensor.floats(), at, n);
            case INT32 -> in.asIntBuffer().get(tensor.ints(), at, n);
            case BF16 -> takeHalves(in.asShortBuffer(), tensor.floats(), at, n);
            case INT16 -> throw unsent(tensor);
        }
        in.position(in.position() + n * tensor.dtype().bytes());
        return n;
    }

    private static IllegalArgumentException unsent(CpuTensor tensor) {
        return new IllegalArgumentException("remainders stay with the rank that owns them: " + tensor);
    }

    private void putHalves(ShortBuffer out, float[] values, int from, int length) {
        for (int start = 0; start < length; start += halves.length) {
            int n = Math.min(halves.length, length - start);
            for (int i = 0; i < n; i++) {
                halves[i] = (short) (Float.floatToRawIntBits(values[from + start + i]) >>> 16);
            }
            out.put(halves, 0, n);
        }
    }

    private void takeHalves(ShortBuffer in, float[] values, int from, int length) {
        for (int start = 0; start < length; start += halves.length) {
            int n = Math.min(halves.length, length - start);
            in.get(halves, 0, n);
            for (int i = 0; i < n; i++) {
                values[from + start + i] = Float.intBitsToFloat(halves[i] << 16);
            }
        }
    }
}
