package io.fourfold.kernels.op;

/** Receives what quantization did to one operand; passed to a quantizer on the steps that are sampled. */
@FunctionalInterface
public interface QuantProbe {
    void record(QuantStats stats);
}
