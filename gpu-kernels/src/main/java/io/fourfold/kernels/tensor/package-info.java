/** Tensors: typed, shaped views of memory that belongs to a backend. */
@NullMarked
package io.fourfold.kernels.tensor;

import org.jspecify.annotations.NullMarked;
