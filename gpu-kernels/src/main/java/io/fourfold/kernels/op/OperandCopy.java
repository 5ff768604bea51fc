package io.fourfold.kernels.op;

import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.TensorScope;
import org.jspecify.annotations.Nullable;

/**
 * How one operand of a matrix is made, where several are made at once.
 *
 * @param random needed when spec rounds stochastically
 * @param probe receives telemetry when not null
 * @param scope where the operand lives
 */
public record OperandCopy(
        OperandSpec spec,
        @Nullable RandomStream random,
        @Nullable QuantProbe probe,
        TensorScope scope) {

    /** Whether the operand waits for backward, so that its size matters more than the time to decode it. */
    public boolean kept() {
        return scope.region() == Region.ACTIVATIONS;
    }
}
