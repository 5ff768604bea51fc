/** Sharded, atomically committed checkpoints. */
@NullMarked
package io.fourfold.checkpoint;

import org.jspecify.annotations.NullMarked;
