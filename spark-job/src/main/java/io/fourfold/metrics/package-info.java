/** What a run reports while it trains: events and where they go. */
@NullMarked
package io.fourfold.metrics;

import org.jspecify.annotations.NullMarked;
