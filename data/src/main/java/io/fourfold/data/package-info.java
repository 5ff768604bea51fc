/** What training reads: samples, batches and their order. */
@NullMarked
package io.fourfold.data;

import org.jspecify.annotations.NullMarked;
