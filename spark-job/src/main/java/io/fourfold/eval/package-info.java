/** Validation perplexity and text generation. */
@NullMarked
package io.fourfold.eval;

import org.jspecify.annotations.NullMarked;
