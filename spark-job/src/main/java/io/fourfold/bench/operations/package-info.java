/** Measures and checks single operations: {@code fourfold bench --operations}. */
@NullMarked
package io.fourfold.bench.operations;

import org.jspecify.annotations.NullMarked;
