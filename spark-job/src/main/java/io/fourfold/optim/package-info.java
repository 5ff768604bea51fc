/** AdamW over sharded flat buffers, schedules, clipping. */
@NullMarked
package io.fourfold.optim;

import org.jspecify.annotations.NullMarked;
