package io.fourfold.model;

import io.fourfold.kernels.op.RowPart;
import org.jspecify.annotations.Nullable;

/** In which order, and beside what, a grouped layer multiplies its rows. */
@FunctionalInterface
interface RowSchedule {
    /** All rows at once. */
    RowSchedule WHOLE = product -> product.multiply(null);

    /** Calls {@code product} for parts that make up all rows. */
    void run(Product product);

    /** The product of some rows. */
    @FunctionalInterface
    interface Product {
        /**
         * @param part null = all rows
         */
        void multiply(@Nullable RowPart part);
    }
}
