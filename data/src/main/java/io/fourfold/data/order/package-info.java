/** Sample order: seeded permutations and exact blends. */
@NullMarked
package io.fourfold.data.order;

import org.jspecify.annotations.NullMarked;
