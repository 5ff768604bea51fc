package io.fourfold.model;

/**
 * The first tensor with a NaN or infinity, in the order of the computation.
 *
 * @param stage parameter, forward or backward
 * @param layer 0-based block, or -1 outside the blocks
 * @param tensor what it is, for example {@code layers.3.attention output}
 * @param element index of the first bad element
 * @param value that element
 */
public record NonFiniteReport(String stage, int layer, String tensor, long element, float value) {
    @Override
    public String toString() {
        return "first non-finite value in the " + stage + " pass: " + tensor + ", element " + element + " is " + value;
    }
}
