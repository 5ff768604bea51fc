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
public record NonFiniteReport(String stage, int layer, String tensor, long element, float value)
        implements Comparable<NonFiniteReport> {
    private static final int LAST = Integer.MAX_VALUE;

    /**
     * Orders reports of several ranks by when the value was computed: parameters, then forward from the first layer to the
     * last, then backward from the last to the first, then parameter gradients.
     */
    @Override
    public int compareTo(NonFiniteReport other) {
        int byPass = Integer.compare(pass(), other.pass());
        return byPass != 0 ? byPass : Integer.compare(depth(), other.depth());
    }

    private int pass() {
        return switch (stage) {
            case "parameter" -> 0;
            case "forward" -> 1;
            default -> layer >= 0 || tensor.startsWith("head") ? 2 : 3;
        };
    }

    /** Position within the pass. */
    private int depth() {
        if (pass() == 0 || pass() == 3) {
            return 0;
        }
        boolean forward = pass() == 1;
        if (layer < 0) {
            return forward && !tensor.startsWith("embedding") ? LAST : -LAST;
        }
        return forward ? layer : -layer;
    }

    @Override
    public String toString() {
        return "first non-finite value in the " + stage + " pass: " + tensor + ", element " + element + " is " + value;
    }
}
