/** The plots and the offline HTML report of a run folder. */
@NullMarked
package io.fourfold.report;

import org.jspecify.annotations.NullMarked;
