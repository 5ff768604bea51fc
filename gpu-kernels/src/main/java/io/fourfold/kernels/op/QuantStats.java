package io.fourfold.kernels.op;

/**
 * What quantization lost. Counts can be added over groups and ranks.
 *
 * @param elements elements quantized (padding not counted)
 * @param zeroCodes nonzero inputs that became zero
 * @param saturated inputs clipped to the largest code
 * @param blocks scale blocks
 * @param scaleUnderflows blocks with a nonzero amax whose scale byte became zero
 * @param amax largest magnitude
 * @param signal sum of x^2 (FP64)
 * @param noise sum of (x - dequantized)^2 (FP64)
 */
public record QuantStats(
        long elements,
        long zeroCodes,
        long saturated,
        long blocks,
        long scaleUnderflows,
        float amax,
        double signal,
        double noise) {
    public static final QuantStats EMPTY = new QuantStats(0, 0, 0, 0, 0, 0f, 0, 0);

    public QuantStats plus(QuantStats other) {
        return new QuantStats(
                elements + other.elements,
                zeroCodes + other.zeroCodes,
                saturated + other.saturated,
                blocks + other.blocks,
                scaleUnderflows + other.scaleUnderflows,
                Math.max(amax, other.amax),
                signal + other.signal,
                noise + other.noise);
    }

    /** Share of nonzero inputs flushed to zero, 0..1. */
    public double underflowShare() {
        return elements == 0 ? 0 : (double) zeroCodes / elements;
    }

    public double saturatedShare() {
        return elements == 0 ? 0 : (double) saturated / elements;
    }

    /** Signal to quantization-noise ratio in dB; infinite when exact. */
    public double sqnrDb() {
        return noise == 0 ? Double.POSITIVE_INFINITY : 10 * Math.log10(signal / noise);
    }
}
