package io.fourfold.metrics;

import io.fourfold.kernels.op.QuantStats;
import java.util.List;
import java.util.Map;

/**
 * One optimizer step, reduced over all ranks.
 *
 * @param step 1-based
 * @param tokens tokens consumed up to and including this step
 * @param samples samples consumed likewise
 * @param loss mean cross-entropy per counted token, nats
 * @param auxLoss sum of the load-balancing losses as added to the objective
 * @param zLoss sum of the z-losses as added to the objective
 * @param gradNorm global norm before clipping
 * @param learningRate the rate used
 * @param stepSeconds wall time of the step
 * @param tokensPerSecond over all ranks
 * @param flopsPerSecond model FLOP/s over all ranks, causal count
 * @param mfu share of the devices' peak, or NaN where the peak is unknown (CPU)
 * @param phases seconds by part of the step (data, forward, backward, gradients, optimizer) on rank 0
 * @param bytesSent bytes that rank 0 sent to others in this step, by axis ("dp_cp"); axes without traffic are absent
 * @param expertLoad per MoE layer, tokens of this step per expert
 * @param dropped share of slots dropped, 0 in dropless mode
 * @param quantization per operand ("layers.3.expert_up.fprop.x") on sampled steps, else empty
 */
public record StepMetrics(
        int step,
        long tokens,
        long samples,
        double loss,
        double auxLoss,
        double zLoss,
        double gradNorm,
        double learningRate,
        double stepSeconds,
        double tokensPerSecond,
        double flopsPerSecond,
        double mfu,
        Map<String, Double> phases,
        Map<String, Long> bytesSent,
        List<LayerLoad> expertLoad,
        double dropped,
        Map<String, QuantStats> quantization) {

    /** The same without expert loads. */
    StepMetrics withoutLoad() {
        return new StepMetrics(
                step,
                tokens,
                samples,
                loss,
                auxLoss,
                zLoss,
                gradNorm,
                learningRate,
                stepSeconds,
                tokensPerSecond,
                flopsPerSecond,
                mfu,
                phases,
                bytesSent,
                List.of(),
                dropped,
                quantization);
    }

    /** The same without quantization statistics. */
    StepMetrics withoutQuantization() {
        return new StepMetrics(
                step,
                tokens,
                samples,
                loss,
                auxLoss,
                zLoss,
                gradNorm,
                learningRate,
                stepSeconds,
                tokensPerSecond,
                flopsPerSecond,
                mfu,
                phases,
                bytesSent,
                expertLoad,
                dropped,
                Map.of());
    }

    /** Tokens per expert of one MoE layer. */
    public record LayerLoad(int layer, int[] tokens) {
        /** Tokens of the fullest expert over the mean of all experts: 1 = balanced, experts = all to one; NaN without tokens. */
        public double imbalance() {
            long sum = 0;
            int largest = 0;
            for (int count : tokens) {
                sum += count;
                largest = Math.max(largest, count);
            }
            return sum == 0 ? Double.NaN : (double) largest * tokens.length / sum;
        }
    }
}
