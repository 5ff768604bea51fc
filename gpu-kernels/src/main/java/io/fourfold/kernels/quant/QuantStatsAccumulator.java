package io.fourfold.kernels.quant;

import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.QuantStats;

/** Gathers {@link QuantStats} row by row, in FP64. Definitions: docs/numerics.md, Telemetry. */
public final class QuantStatsAccumulator {
    /** A block's own amax times its encode factor may land a few units beyond the largest code; that is not clipping. */
    private static final float ROUNDING_SLACK = 1 + 0x1p-20f;

    private long elements;
    private long zeroCodes;
    private long saturated;
    private long blocks;
    private long scaleUnderflows;
    private float amax;
    private double signal;
    private double noise;

    /** Counts the blocks of one tensor or group. */
    void addBlocks(OperandSpec spec, BlockScaling scaling, float[] blockAmax, int count, float tensorAmax) {
        amax = Math.max(amax, tensorAmax);
        blocks += spec.blocks() == OperandSpec.Blocks.TENSOR ? 1 : count;
        for (int i = 0; i < count; i++) {
            if (blockAmax[i] != 0f && scaling.decodeFactor(blockAmax[i]) == 0f) {
                scaleUnderflows++;
            }
        }
    }

    /**
     * Adds one row of quantizer inputs and the values they became.
     *
     * @param largest magnitude of the format's largest code
     */
    void addRow(
            float[] x,
            int at,
            int cols,
            float[] encode,
            float[] decode,
            float largest,
            float tensorScale,
            float[] out,
            int to) {
        elements += cols;
        float limit = largest * ROUNDING_SLACK;
        for (int c = 0; c < cols; c++) {
            float input = x[at + c];
            float value = out[to + c];
            double error = input - (double) (value * tensorScale);
            signal += (double) input * input;
            noise += error * error;
            if (input != 0f && value == 0f) {
                zeroCodes++;
            }
            if (decode[c] != 0f && Math.abs(input * encode[c]) > limit) {
                saturated++;
            }
        }
    }

    /** What has been added so far. */
    public QuantStats stats() {
        return new QuantStats(elements, zeroCodes, saturated, blocks, scaleUnderflows, amax, signal, noise);
    }
}
