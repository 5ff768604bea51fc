/** The device abstraction: a {@link io.fourfold.kernels.Backend} offers every operation the trainer needs. */
@NullMarked
package io.fourfold.kernels;

import org.jspecify.annotations.NullMarked;
