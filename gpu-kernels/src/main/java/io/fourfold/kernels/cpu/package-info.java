/** The CPU backend: plain, readable implementations that decide what is correct. */
@NullMarked
package io.fourfold.kernels.cpu;

import org.jspecify.annotations.NullMarked;
