package io.fourfold.model;

import io.fourfold.kernels.op.QuantProbe;
import io.fourfold.kernels.op.QuantStats;
import java.util.Collections;
import java.util.Map;
import java.util.TreeMap;

/**
 * Collects quantization statistics by operand over the micro-batches of a sampled step. Operands are named
 * {@code layers.3.expert_up.fprop.x}: layer, linear layer, GEMM (fprop, dgrad, wgrad) and operand (x, w, dy).
 */
public final class QuantizationTelemetry {
    private final Map<String, QuantStats> statistics = new TreeMap<>();

    /** The probe of one operand; what it records is added to what the operand recorded before. */
    public QuantProbe probe(String operand) {
        return stats -> statistics.merge(operand, stats, QuantStats::plus);
    }

    /** By operand name, sorted. */
    public Map<String, QuantStats> statistics() {
        return Collections.unmodifiableMap(statistics);
    }
}
