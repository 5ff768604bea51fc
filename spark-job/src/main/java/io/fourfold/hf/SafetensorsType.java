package io.fourfold.hf;

import io.fourfold.kernels.numeric.BFloat16;
import java.nio.ByteBuffer;
import org.jspecify.annotations.Nullable;

/** Element types of a safetensors file that hold model weights; little endian. */
public enum SafetensorsType {
    F32(4),
    BF16(2),
    F16(2);

    private final int bytes;

    SafetensorsType(int bytes) {
        this.bytes = bytes;
    }

    /** Bytes per element. */
    public int bytes() {
        return bytes;
    }

    /** The type of a header's {@code dtype}; null when it is none that holds weights. */
    static @Nullable SafetensorsType parse(String dtype) {
        for (SafetensorsType type : values()) {
            if (type.name().equals(dtype)) {
                return type;
            }
        }
        return null;
    }

    /** Decodes the element at byte {@code position}; exact. */
    float get(ByteBuffer buffer, int position) {
        return switch (this) {
            case F32 -> buffer.getFloat(position);
            case BF16 -> BFloat16.fromBits(buffer.getShort(position));
            case F16 -> halfToFloat(buffer.getShort(position));
        };
    }

    /** Appends a value rounded to nearest even. */
    void put(ByteBuffer buffer, float value) {
        switch (this) {
            case F32 -> buffer.putFloat(value);
            case BF16 -> buffer.putShort((short) BFloat16.toBits(value));
            case F16 -> throw new IllegalArgumentException("F16 is read but never written: its range is too small");
        }
    }

    /** IEEE 754 binary16 to binary32. */
    static float halfToFloat(short half) {
        int sign = (half & 0x8000) << 16;
        int exponent = half >>> 10 & 0x1f;
        int fraction = half & 0x3ff;
        if (exponent == 0) {
            float magnitude = fraction * 0x1p-24f;
            return sign == 0 ? magnitude : -magnitude;
        }
        if (exponent == 0x1f) {
            return Float.intBitsToFloat(sign | 0x7f800000 | fraction << 13);
        }
        return Float.intBitsToFloat(sign | (exponent + 127 - 15) << 23 | fraction << 13);
    }
}
