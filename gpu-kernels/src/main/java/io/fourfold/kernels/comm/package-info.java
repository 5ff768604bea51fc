/** Collectives between ranks. */
@NullMarked
package io.fourfold.kernels.comm;

import org.jspecify.annotations.NullMarked;
