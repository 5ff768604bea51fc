/** Everything that knows Spark: data preparation jobs and the barrier launch. */
@NullMarked
package io.fourfold.spark;

import org.jspecify.annotations.NullMarked;
