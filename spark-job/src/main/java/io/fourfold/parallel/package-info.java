/** The mapping of attention and MoE grids onto ranks, and the groups it makes. */
@NullMarked
package io.fourfold.parallel;

import org.jspecify.annotations.NullMarked;
