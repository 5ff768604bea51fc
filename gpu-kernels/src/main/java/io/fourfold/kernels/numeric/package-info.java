/** Scalar number formats (BF16, E4M3, E5M2, E2M1, UE8M0) and the Philox generator, bit-exact. */
@NullMarked
package io.fourfold.kernels.numeric;

import org.jspecify.annotations.NullMarked;
