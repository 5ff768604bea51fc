/** The command line. */
@NullMarked
package io.fourfold.cli;

import org.jspecify.annotations.NullMarked;
