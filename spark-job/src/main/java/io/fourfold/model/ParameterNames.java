package io.fourfold.model;

/**
 * Canonical names of the model's global tensors, in checkpoints, telemetry and conversion. Shapes: H hidden, V vocabulary,
 * Q/KV query and key/value width, D head width, F inner width, E experts.
 */
public final class ParameterNames {
    /** [V, H]. */
    public static final String EMBEDDING = "embedding.weight";
    /** [H]. */
    public static final String FINAL_NORM = "final_norm.weight";
    /** [V, H]; absent when tied. */
    public static final String HEAD = "head.weight";

    private ParameterNames() {}

    /** Prefix of block {@code i}. */
    public static String layer(int i) {
        return "layers." + i + ".";
    }

    /** attention_norm and ffn_norm, [H]. */
    public static String norm(int layer, String which) {
        return layer(layer) + which + ".weight";
    }

    /** q [Q, H], k and v [KV, H], o [H, Q]; part "weight" or "bias" (bias only for q, k, v: [Q] or [KV]). */
    public static String attention(int layer, String projection, String part) {
        return layer(layer) + "attention." + projection + "." + part;
    }

    /** q_norm and k_norm, [D]. */
    public static String headNorm(int layer, String projection) {
        return layer(layer) + "attention." + projection + "_norm.weight";
    }

    /** Dense gate and up [F, H], down [H, F]; ReLU2 has no gate. */
    public static String ffn(int layer, String projection) {
        return layer(layer) + "ffn." + projection + ".weight";
    }

    /** [E, H]. */
    public static String router(int layer) {
        return layer(layer) + "moe.router.weight";
    }

    /** [E], moved by balancing rather than by a gradient. */
    public static String expertBias(int layer) {
        return layer(layer) + "moe.router.expert_bias";
    }

    /** [E], the share of slots per expert in the previous step: state of the global-batch balancing loss. */
    public static String previousLoad(int layer) {
        return layer(layer) + "moe.router.previous_load";
    }

    /** All experts stacked: gate and up [E, F, H], down [E, H, F]. */
    public static String experts(int layer, String projection) {
        return layer(layer) + "moe.experts." + projection + ".weight";
    }

    /** Shared expert gate and up [F, H], down [H, F]. */
    public static String shared(int layer, String projection) {
        return layer(layer) + "moe.shared." + projection + ".weight";
    }

    /** Gate of the shared expert, [1, H]. */
    public static String sharedGate(int layer) {
        return layer(layer) + "moe.shared_gate.weight";
    }
}
