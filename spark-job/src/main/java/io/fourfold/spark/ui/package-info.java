/**
 * The Fourfold tab of Spark's web UI. Spark offers no public way to add a page: SparkUITab and its neighbours are private to
 * Spark in Scala, though public in bytecode, so all use of them is in this package, and a change there costs the tab, never
 * the run.
 */
@NullMarked
package io.fourfold.spark.ui;

import org.jspecify.annotations.NullMarked;
