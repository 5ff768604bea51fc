/** Block quantization on the CPU: NVFP4, MXFP4, FP8, Hadamard transform, stochastic rounding, telemetry. */
@NullMarked
package io.fourfold.kernels.quant;

import org.jspecify.annotations.NullMarked;
