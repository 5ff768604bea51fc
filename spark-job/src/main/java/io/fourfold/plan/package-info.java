/** What a configuration means: parameters, FLOPs, ranks and groups, bytes per rank. */
@NullMarked
package io.fourfold.plan;

import org.jspecify.annotations.NullMarked;
