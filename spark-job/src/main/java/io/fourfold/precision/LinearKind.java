package io.fourfold.precision;

import java.util.Locale;

/** The linear layers of a block whose precision a recipe decides. Gate and up projections are one fused layer. */
public enum LinearKind {
    QKV,
    ATTENTION_OUTPUT,
    FFN_UP,
    FFN_DOWN,
    EXPERT_UP,
    EXPERT_DOWN,
    SHARED_UP,
    SHARED_DOWN;

    /** The name used in configuration and telemetry, for example {@code expert_up}. */
    public String key() {
        return name().toLowerCase(Locale.ROOT);
    }
}
