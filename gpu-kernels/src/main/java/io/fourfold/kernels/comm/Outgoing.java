package io.fourfold.kernels.comm;

import io.fourfold.kernels.cpu.CpuTensor;
import java.nio.ByteBuffer;
import java.util.function.IntSupplier;

/** Something to be written to a peer, piece by piece. */
interface Outgoing {
    /** Puts what is ready and fits; true when all of it has been put. */
    boolean put(ByteBuffer out);

    static Outgoing bytes(ByteBuffer bytes) {
        return out -> {
            int n = Math.min(bytes.remaining(), out.remaining());
            out.put(bytes.slice(bytes.position(), n));
            bytes.position(bytes.position() + n);
            return !bytes.hasRemaining();
        };
    }

    /**
     * Elements of a tensor.
     *
     * @param ready how many of them may be read already
     */
    static Outgoing part(WireFormat format, CpuTensor tensor, int from, int length, IntSupplier ready) {
        return new Outgoing() {
            private int done;

            @Override
            public boolean put(ByteBuffer out) {
                done += format.put(out, tensor, from + done, Math.min(length, ready.getAsInt()) - done);
                return done == length;
            }
        };
    }
}
