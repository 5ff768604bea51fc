/** Mixture of experts: router, losses, token dispatcher, experts. */
@NullMarked
package io.fourfold.moe;

import org.jspecify.annotations.NullMarked;
