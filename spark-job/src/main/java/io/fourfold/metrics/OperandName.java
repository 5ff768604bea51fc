package io.fourfold.metrics;

import java.util.OptionalInt;

/**
 * The name of a quantized operand in its parts.
 *
 * @param layer 0-based block, empty for an operand outside the blocks
 * @param operand the rest: kind of linear layer, GEMM and side, such as {@code expert_up.fprop.x}
 */
public record OperandName(OptionalInt layer, String operand) {
    private static final String PREFIX = "layers.";

    /** Splits {@code layers.3.expert_up.fprop.x}; any other name is an operand without a layer. */
    public static OperandName parse(String name) {
        if (name.startsWith(PREFIX)) {
            int end = name.indexOf('.', PREFIX.length());
            if (end > PREFIX.length() && end < name.length() - 1) {
                String layer = name.substring(PREFIX.length(), end);
                if (layer.length() <= 6 && layer.chars().allMatch(c -> c >= '0' && c <= '9')) {
                    return new OperandName(OptionalInt.of(Integer.parseInt(layer)), name.substring(end + 1));
                }
            }
        }
        return new OperandName(OptionalInt.empty(), name);
    }
}
