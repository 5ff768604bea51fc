/** The decoder: layers with written-out forward and backward. */
@NullMarked
package io.fourfold.model;

import org.jspecify.annotations.NullMarked;
