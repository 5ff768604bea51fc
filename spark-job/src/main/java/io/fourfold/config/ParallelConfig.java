package io.fourfold.config;

import java.util.List;

/** Degrees of parallelism; data parallel degrees follow from the world size. */
public record ParallelConfig(
        @Setting(doc = "Ranks in total: barrier tasks, one per GPU.", value = "1", min = 1, max = 131072)
        int worldSize,

        @Setting(doc = "Tensor parallel degree of attention and dense layers (TP).", value = "1", min = 1)
        int tensorParallelSize,

        @Setting(doc = "Context parallel degree (CP).", value = "1", min = 1)
        int contextParallelSize,

        @Setting(
                doc =
                        "How context parallel ranks see each other's keys and values: gather those of the whole sequences,"
                                + " or pass them around a ring, which keeps one other rank's at a time and merges partial outputs.",
                value = "gather")
        ContextExchange contextExchange,

        @Setting(doc = "Pipeline parallel degree (PP).", value = "1", min = 1)
        int pipelineParallelSize,

        @Setting(doc = "Expert parallel degree (EP).", value = "1", min = 1)
        int expertParallelSize,

        @Setting(doc = "Tensor parallel degree inside an expert (ETP).", value = "1", min = 1)
        int expertTensorParallelSize,

        @Setting(
                doc =
                        "What travels to experts on other ranks: each token once to a rank, whose experts' results for it are"
                                + " added there and rounded before they return (token), or a row for every chosen expert, with"
                                + " the bits of one rank and up to top_k times the bytes (slot). Padded capacity always takes"
                                + " slots.",
                value = "token")
        DispatchUnit dispatchUnit,

        @Setting(doc = "Model chunks per pipeline rank (virtual stages).", value = "1", min = 1)
        int virtualStages,

        @Setting(
                doc = "Blocks of each pipeline stage in the order of the model, pipeline_parallel_size * virtual_stages"
                        + " numbers; the first stage also has the embedding and the last one the head, so these may"
                        + " have no blocks. Empty = balanced by cost.",
                value = "[]")
        List<Integer> stageLayout,

        @Setting(doc = "Sums of gradients over data parallel ranks.", value = "{}")
        GradientConfig gradients) {
    public ParallelConfig {
        stageLayout = List.copyOf(stageLayout);
    }
}
