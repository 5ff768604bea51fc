package io.fourfold.kernels.cuda;

import org.bytedeco.cuda.cudart.CUtensorMap;
import org.bytedeco.javacpp.BytePointer;

/** What the bulk tensor copy engine needs to know about a tensor; passed by value to a kernel. */
public final class TensorMap implements AutoCloseable {
    private static final int BYTES = 128;
    private static final int ALIGNMENT = 64;

    private final BytePointer memory = new BytePointer(BYTES + ALIGNMENT);
    private final long address = (memory.address() + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;

    long address() {
        return address;
    }

    CUtensorMap javacpp() {
        return Addresses.of(new CUtensorMap((org.bytedeco.javacpp.Pointer) null), address);
    }

    @Override
    public void close() {
        memory.close();
    }
}
