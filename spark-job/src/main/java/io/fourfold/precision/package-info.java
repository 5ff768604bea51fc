/** Recipes: which linear layer computes which GEMM in which format. */
@NullMarked
package io.fourfold.precision;

import org.jspecify.annotations.NullMarked;
