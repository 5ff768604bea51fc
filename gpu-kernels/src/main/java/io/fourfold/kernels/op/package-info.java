/** The operations by concern, as interfaces; each has a CPU oracle in {@code kernels.cpu}. */
@NullMarked
package io.fourfold.kernels.op;

import org.jspecify.annotations.NullMarked;
