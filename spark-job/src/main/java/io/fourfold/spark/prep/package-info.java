/** The Spark job that turns raw text into shards. */
@NullMarked
package io.fourfold.spark.prep;

import org.jspecify.annotations.NullMarked;
