package io.fourfold.kernels.quant;

import java.util.ArrayList;
import java.util.List;

/**
 * One product C [m, n] = A * B^T of two NVFP4 operands as a matrix library takes it: byte positions in the operands' buffers,
 * sizes, and where C begins. K runs over the stored depth; its padding is zero on both sides.
 *
 * @param group which factor of each operand belongs to it
 * @param codesA bytes from the start of A's codes; codesB alike
 * @param scalesA bytes from the start of A's scales; scalesB alike
 * @param c elements from the start of C
 * @param k a multiple of 64; 0 when there is nothing to add
 */
public record Nvfp4Product(
        int group, long codesA, long scalesA, long codesB, long scalesB, long c, int m, int n, int k) {

    /**
     * Products of all groups, C_g behind one another: of rows (C [R, n], an operand of ragged rows with stacked weights) and
     * of depth (C [groups, m, n]). Groups without rows are left out.
     *
     * @param firstRow row of C where group 0 begins
     */
    public static List<Nvfp4Product> of(Nvfp4Layout a, Nvfp4Layout b, int firstRow) {
        if (a.groups() != b.groups()) {
            throw new IllegalArgumentException("A has " + a.groups() + " groups, B has " + b.groups());
        }
        List<Nvfp4Product> products = new ArrayList<>();
        long row = firstRow;
        for (int g = 0; g < a.groups(); g++) {
            if (a.storedDepth(g) != b.storedDepth(g)) {
                throw new IllegalArgumentException("the operands differ in depth (K): group " + g + " of A has "
                        + a.storedDepth(g) + ", of B " + b.storedDepth(g));
            }
            int m = a.rows(g);
            int n = b.rows(g);
            if (m > 0 && n > 0) {
                products.add(new Nvfp4Product(
                        g, a.codesAt(g), a.scalesAt(g), b.codesAt(g), b.scalesAt(g), row * n, m, n, a.storedDepth(g)));
            }
            row += m;
        }
        return products;
    }
}
