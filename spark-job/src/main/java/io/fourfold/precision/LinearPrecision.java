package io.fourfold.precision;

import io.fourfold.kernels.op.OperandSpec;

/**
 * Formats of the six GEMM operands of one linear layer Y [T, N] = X [T, K] * W [N, K]^T.
 *
 * @param fpropX X by rows, blocks along K
 * @param fpropW W by rows, blocks along K
 * @param dgradDy dY by rows, blocks along N
 * @param dgradW W by columns, blocks along N
 * @param wgradDy dY by columns, blocks along the tokens
 * @param wgradX X by columns, blocks along the tokens
 */
public record LinearPrecision(
        OperandSpec fpropX,
        OperandSpec fpropW,
        OperandSpec dgradDy,
        OperandSpec dgradW,
        OperandSpec wgradDy,
        OperandSpec wgradX) {

    /** All six operands alike. */
    public static LinearPrecision uniform(OperandSpec spec) {
        return new LinearPrecision(spec, spec, spec, spec, spec, spec);
    }

    LinearPrecision withForward(OperandSpec spec) {
        return new LinearPrecision(spec, spec, dgradDy, dgradW, wgradDy, wgradX);
    }

    LinearPrecision withBackward(OperandSpec spec) {
        return new LinearPrecision(fpropX, fpropW, spec, spec, spec, spec);
    }
}
