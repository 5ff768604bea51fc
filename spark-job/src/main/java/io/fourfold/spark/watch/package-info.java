/** The channel from the ranks to the driver, and what the driver makes of it: files, gauges, the state that is shown. */
@NullMarked
package io.fourfold.spark.watch;

import org.jspecify.annotations.NullMarked;
