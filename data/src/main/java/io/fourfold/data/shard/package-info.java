/** The training shard format and its manifest. */
@NullMarked
package io.fourfold.data.shard;

import org.jspecify.annotations.NullMarked;
