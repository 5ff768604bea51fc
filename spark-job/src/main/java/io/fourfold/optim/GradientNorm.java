package io.fourfold.optim;

import org.jspecify.annotations.Nullable;

/**
 * Global gradient norm of one step.
 *
 * @param value square root of the sum of squares over all parameters, each counted once; NaN or infinite when a gradient is
 * @param nonFinite name of the first parameter on this rank's shard whose gradient is not finite, or null
 */
public record GradientNorm(double value, @Nullable String nonFinite) {
    public boolean isFinite() {
        return Double.isFinite(value);
    }
}
