/** Reading, normalising, deduplicating and splitting raw documents. */
@NullMarked
package io.fourfold.data.text;

import org.jspecify.annotations.NullMarked;
