/** What the driver does when a gang fails: restart it, with fewer ranks or without a host, or give up. Plain Java. */
@NullMarked
package io.fourfold.train.restart;

import org.jspecify.annotations.NullMarked;
