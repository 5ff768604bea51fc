package io.fourfold.kernels.comm;

import io.fourfold.kernels.cpu.CpuTensor;
import java.nio.ByteBuffer;

/** Something to be read from a peer, piece by piece. */
interface Incoming {
    /** Takes what is there and has a place; true when all of it has been taken. */
    boolean take(ByteBuffer in);

    /** False while there is no place for more: then the connection is left alone, and TCP slows the peer down. */
    default boolean hasRoom() {
        return true;
    }

    /** Elements of a tensor. */
    static Incoming part(WireFormat format, CpuTensor tensor, int from, int length) {
        return new Incoming() {
            private int done;

            @Override
            public boolean take(ByteBuffer in) {
                done += format.take(in, tensor, from + done, length - done);
                return done == length;
            }
        };
    }
}
