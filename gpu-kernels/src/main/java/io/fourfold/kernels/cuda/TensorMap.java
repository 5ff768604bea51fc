package io.fourfold.kernels.cuda;

import org.bytedeco.cuda.cudart.CUtensorMap;

/** What the bulk tensor copy engine needs to know about a tensor; passed by value to a kernel. Aligned to 64 bytes. */
public final class TensorMap {
    private final CUtensorMap map;
    private final long address;

    TensorMap(CUtensorMap map) {
        this.map = map;
        this.address = map.address();
    }

    long address() {
        return address;
    }

    CUtensorMap map() {
        return map;
    }
}
