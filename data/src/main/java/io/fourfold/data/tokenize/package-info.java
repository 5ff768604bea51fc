/** Tokenizers behind one interface. */
@NullMarked
package io.fourfold.data.tokenize;

import org.jspecify.annotations.NullMarked;
