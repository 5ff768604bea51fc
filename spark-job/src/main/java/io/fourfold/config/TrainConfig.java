package io.fourfold.config;

import java.util.List;

/** Batches, optimizer and schedule. */
public record TrainConfig(
        @Setting(doc = "Tokens per sample.", value = "1024", min = 2)
        int sequenceLength,

        @Setting(doc = "Samples per optimizer step over all ranks.", value = "8", min = 1)
        int globalBatchSize,

        @Setting(doc = "Samples per forward pass on one rank.", value = "1", min = 1)
        int microBatchSize,

        @Setting(doc = "Optimizer steps in the whole run.", value = "100", min = 1)
        int steps,

        @Setting(doc = "Seed of initialisation, sample order and stochastic rounding.", value = "1234")
        long seed,

        @Setting(doc = "AdamW.", value = "{}") OptimizerConfig optimizer,

        @Setting(doc = "Learning rate over time.", value = "{}")
        ScheduleConfig schedule,

        @Setting(doc = "Validate every n steps; 0 = only at the end.", value = "0", min = 0)
        int evalEvery,

        @Setting(doc = "Validation samples per evaluation.", value = "32", min = 1)
        int evalSamples,

        @Setting(
                doc = "What backward computes again instead of keeping it: norm, activation, dispatch (rows of the"
                        + " experts), attention (with its norm), expert (the feed-forward part with its norm) or block (whole blocks). Same results, less"
                        + " memory, more time.",
                value = "[]")
        List<RecomputeModule> recompute,

        @Setting(
                doc = "On a GPU, keep activations in the memory of gradients that backward has not written yet. Same"
                        + " results; saves memory where a step has one micro-batch and there is no pipeline.",
                value = "true")
        boolean lendGradients,

        @Setting(
                doc =
                        "On a GPU, record what a micro-batch launches and launch it as one CUDA graph in later steps. Same"
                                + " results; for ranks that run micro-batches alone (no TP, CP, EP, ETP, PP). The last micro-batch of a"
                                + " step is launched piece by piece when gradients are summed meanwhile in four buckets or more.",
                value = "true")
        boolean cudaGraphs) {
    public TrainConfig {
        recompute = List.copyOf(recompute);
    }

    /** AdamW with decoupled weight decay; norms, biases and the router bias do not decay. */
    public record OptimizerConfig(
            @Setting(doc = "Peak learning rate.", value = "3.0e-4", min = 0)
            double learningRate,

            @Setting(doc = "Learning rate at the end.", value = "3.0e-6", min = 0)
            double minLearningRate,

            @Setting(doc = "First moment decay.", value = "0.9", min = 0, max = 1)
            double beta1,

            @Setting(doc = "Second moment decay.", value = "0.95", min = 0, max = 1)
            double beta2,

            @Setting(doc = "Epsilon.", value = "1.0e-8", min = 0)
            double epsilon,

            @Setting(doc = "Weight decay.", value = "0.1", min = 0)
            double weightDecay,

            @Setting(doc = "Largest global gradient norm; 0 = no clipping.", value = "1.0", min = 0)
            double clipNorm) {}

    /** Learning-rate schedule. */
    public record ScheduleConfig(
            @Setting(doc = "wsd (warm-up, stable, decay), cosine or constant.", value = "wsd")
            Kind kind,

            @Setting(doc = "Steps of linear warm-up.", value = "0", min = 0)
            int warmupSteps,

            @Setting(doc = "Share of the steps that decay (wsd).", value = "0.2", min = 0, max = 1)
            double decayFraction) {
        /** Shapes. */
        public enum Kind {
            WSD,
            COSINE,
            CONSTANT
        }
    }
}
