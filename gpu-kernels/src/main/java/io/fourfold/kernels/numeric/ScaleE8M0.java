package io.fourfold.kernels.numeric;

/** UE8M0, the scale of MX formats: an unsigned exponent byte, value 2^(byte - 127); 255 is NaN. */
public final class ScaleE8M0 {
    private ScaleE8M0() {}

    /**
     * The byte of 2^ceil(log2(amax / 6)): the smallest power of two under which amax fits E2M1 without clipping. Exact,
     * from the bits: amax = m * 2^k gives k - 2 where m is at most 1.5, and k - 1 otherwise. Zero and magnitudes whose
     * scale would be below 2^-127 give byte 0; infinities and NaN give 255.
     *
     * @param amax not negative
     */
    public static int forE2M1(float amax) {
        int bits = Float.floatToRawIntBits(amax) & 0x7FFF_FFFF;
        if (bits >= 0x7F80_0000) {
            return 255;
        }
        return Math.max(0, ((bits + 0x3F_FFFF) >>> 23) - 2);
    }

    /**
     * The byte of 2^ceil(log2(amax / 448)): the smallest power of two under which amax fits E4M3 without clipping. Exact,
     * from the bits: amax = m * 2^k gives k - 8 where m is at most 1.75, and k - 7 otherwise. Zero and magnitudes whose
     * scale would be below 2^-127 give byte 0; infinities and NaN give 255.
     *
     * @param amax not negative
     */
    public static int forE4M3(float amax) {
        int bits = Float.floatToRawIntBits(amax) & 0x7FFF_FFFF;
        if (bits >= 0x7F80_0000) {
            return 255;
        }
        return Math.max(0, ((bits + 0x1F_FFFF) >>> 23) - 8);
    }

    /** The value of a byte; bits above the low 8 are ignored. */
    public static float decode(int code) {
        int exponent = code & 0xFF;
        return exponent == 255 ? Float.NaN : Math.scalb(1f, exponent - 127);
    }
}
