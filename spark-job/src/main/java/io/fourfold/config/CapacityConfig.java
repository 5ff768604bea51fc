package io.fourfold.config;

/** Token dropping: an expert takes at most ceil(tokens * top_k / experts * factor) slots. */
public record CapacityConfig(
        @Setting(doc = "Capacity factor.", value = "1.0", min = 0)
        double factor,

        @Setting(
                doc = "sub_sequence: count local tokens only; full_sequence: over the whole sequence.",
                value = "sub_sequence")
        Scope scope,

        @Setting(doc = "Which slots stay: the most probable ones or the first ones.", value = "probability")
        Policy policy,

        @Setting(doc = "Pad every expert to its capacity, for fixed shapes.", value = "false")
        boolean pad) {
    /** Tokens that share one capacity. */
    public enum Scope {
        SUB_SEQUENCE,
        FULL_SEQUENCE
    }

    /** Order in which slots fill an expert. */
    public enum Policy {
        PROBABILITY,
        POSITION
    }
}
