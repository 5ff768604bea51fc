package io.fourfold.config;

/** A whole resolved configuration: what a run folder stores and what the config hash covers. */
public record FourfoldConfig(
        @Setting(doc = "The model's architecture.") ModelConfig model,

        @Setting(doc = "Precision of every GEMM.", value = "{}")
        RecipeConfig recipe,

        @Setting(doc = "How many ranks there are and how the model is split over them.", value = "{}")
        ParallelConfig parallel,

        @Setting(doc = "Raw text, tokenizer, shards and blends.", value = "{}")
        DataConfig data,

        @Setting(doc = "Batches, optimizer, schedule.", value = "{}")
        TrainConfig train,

        @Setting(doc = "The run folder and what is written into it.", value = "{}")
        RunConfig run) {}
