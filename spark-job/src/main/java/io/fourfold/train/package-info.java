/** The training loop of one rank. */
@NullMarked
package io.fourfold.train;

import org.jspecify.annotations.NullMarked;
