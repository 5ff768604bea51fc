package io.fourfold.kernels.cuda;

import jcuda.driver.CUdeviceptr;

/** A JCuda device pointer whose address Java can read, and that can be moved to any address of its allocation. */
final class DevicePointer extends CUdeviceptr {
    DevicePointer() {}

    private DevicePointer(CUdeviceptr base, long byteOffset) {
        super(base, byteOffset);
    }

    static DevicePointer of(long address) {
        return new DevicePointer(new CUdeviceptr(), address);
    }

    long address() {
        return getNativePointer() + getByteOffset();
    }

    /** The same allocation at another address. */
    DevicePointer at(long address) {
        return new DevicePointer(this, address - address());
    }
}
