package io.fourfold.config;

import io.fourfold.kernels.op.OperandSpec;
import java.util.List;

/** Precision of the linear layers' GEMMs. */
public record RecipeConfig(
        @Setting(doc = "fp32 (exact reference), bf16, fp8, nvfp4 or mxfp4.", value = "bf16")
        Kind kind,

        @Setting(doc = "Linear layers kept in BF16.", value = "{}")
        HighPrecision highPrecision,

        @Setting(doc = "te_2_14 or paper: which published NVFP4 scale computation.", value = "te_2_14")
        OperandSpec.ScaleFormula scaleFormula,

        @Setting(doc = "Stochastic rounding of gradients (FP4 recipes).", value = "true")
        boolean stochasticRounding,

        @Setting(doc = "Random Hadamard transform of both wgrad operands (NVFP4).", value = "true")
        boolean hadamard,

        @Setting(doc = "16x16 weight blocks, so that forward and backward see the same weight (NVFP4).", value = "true")
        boolean weight2d,

        @Setting(doc = "FP8 granularity: block (1x128 and 128x128) or tensor (current scaling).", value = "block")
        Fp8Scaling fp8Scaling,

        @Setting(
                doc =
                        "How tokens travel to their experts in the forward pass: exact (as they are), fp8 (half the bytes of"
                                + " BF16) or nvfp4 (3.5 times fewer). Gradients travel as they are.",
                value = "exact")
        Dispatch dispatch,

        @Setting(doc = "Return to BF16 near the end of training.", value = "{}")
        LateSwitch lateSwitch,

        @Setting(doc = "Collect quantization statistics every n steps; 0 = never.", value = "20", min = 0)
        int telemetryEvery) {
    /** Recipes. */
    public enum Kind {
        FP32,
        BF16,
        FP8,
        NVFP4,
        MXFP4;

        /** Nothing but BF16 products reads the weights of linear layers, so their masters are split. */
        public boolean splitsMasters() {
            return this == BF16;
        }
    }

    /** Format of token rows on their way to the experts. */
    public enum Dispatch {
        EXACT,
        FP8,
        NVFP4
    }

    /** FP8 scale granularity. */
    public enum Fp8Scaling {
        BLOCK,
        TENSOR
    }

    /** Linear layers that stay in BF16 (arXiv:2509.25149 section 4: about 15%, mostly the last blocks). */
    public record HighPrecision(
            @Setting(doc = "First n blocks.", value = "0", min = 0)
            int first,

            @Setting(doc = "Last n blocks.", value = "0", min = 0)
            int last,

            @Setting(
                    doc = "Linear layers by kind in every block: qkv, attention_output, ffn_up, ffn_down, expert_up,"
                            + " expert_down, shared_up, shared_down.",
                    value = "[]")
            List<String> modules) {
        public HighPrecision {
            modules = List.copyOf(modules);
        }
    }

    /** The switch of section 4.5 of arXiv:2509.25149. */
    public record LateSwitch(
            @Setting(doc = "Step from which the chosen GEMMs are BF16; -1 = never.", value = "-1", min = -1)
            int step,

            @Setting(doc = "forward, backward or both.", value = "forward")
            Direction direction) {
        /** Which GEMMs switch: fprop, or dgrad and wgrad, or all. */
        public enum Direction {
            FORWARD,
            BACKWARD,
            BOTH
        }
    }
}
