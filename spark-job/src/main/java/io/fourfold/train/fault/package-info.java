/** Faults that the configuration asks for, injected into one rank to test what happens then. */
@NullMarked
package io.fourfold.train.fault;

import org.jspecify.annotations.NullMarked;
