/** Measures operations and whole training steps: {@code fourfold bench}. */
@NullMarked
package io.fourfold.bench;

import org.jspecify.annotations.NullMarked;
