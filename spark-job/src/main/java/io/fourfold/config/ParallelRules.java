package io.fourfold.config;

import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * When a set of degrees is a mapping at all: the world must split over the attention grid TP x CP x DP x PP and over the
 * MoE grid ETP x EP x EDP x PP (arXiv:2504.14960 section 3.1). With PP slowest in both grids that is the only condition.
 */
public final class ParallelRules {
    private ParallelRules() {}

    /** Everything wrong with the degrees alone, whatever the model; empty when a mapping exists. */
    public static List<Problem> problems(ParallelConfig config) {
        List<Problem> problems = degrees(config);
        if (problems.isEmpty()) {
            world(config, problems);
        }
        return problems;
    }

    /** Degrees that are no numbers of ranks. */
    static List<Problem> degrees(ParallelConfig config) {
        List<Problem> problems = new ArrayList<>();
        atLeastOne(problems, "world_size", config.worldSize());
        atLeastOne(problems, "tensor_parallel_size", config.tensorParallelSize());
        atLeastOne(problems, "context_parallel_size", config.contextParallelSize());
        atLeastOne(problems, "pipeline_parallel_size", config.pipelineParallelSize());
        atLeastOne(problems, "expert_parallel_size", config.expertParallelSize());
        atLeastOne(problems, "expert_tensor_parallel_size", config.expertTensorParallelSize());
        atLeastOne(problems, "virtual_stages", config.virtualStages());
        return problems;
    }

    private static void world(ParallelConfig config, List<Problem> problems) {
        long attention =
                product(config.tensorParallelSize(), config.contextParallelSize(), config.pipelineParallelSize());
        divides(problems, config, attention, "attention grid: tensor x context x pipeline");
        long moe =
                product(config.expertTensorParallelSize(), config.expertParallelSize(), config.pipelineParallelSize());
        divides(problems, config, moe, "MoE grid: expert_tensor x expert x pipeline");
        if (config.virtualStages() > 1 && config.pipelineParallelSize() == 1) {
            problems.add(Problem.error(
                    "parallel.virtual_stages",
                    config.virtualStages(),
                    "virtual stages split the layers of a pipeline rank, but pipeline_parallel_size is 1",
                    "set virtual_stages to 1 or pipeline_parallel_size above 1"));
        }
    }

    /** What the degrees ask of the model, whether or not the world splits over them; all must be at least 1. */
    static void fit(ParallelConfig config, ModelConfig model, @Nullable TrainConfig train, List<Problem> problems) {
        int tp = config.tensorParallelSize();
        String tensor = "tensor_parallel_size";
        AttentionConfig attention = model.attention();
        split(problems, tensor, tp, "model.attention.heads", attention.heads());
        split(problems, tensor, tp, "model.attention.kv_heads", attention.kvHeads());
        split(problems, tensor, tp, "model.vocab_size", model.vocabSize());
        if (model.ffn() != null) {
            split(
                    problems,
                    tensor,
                    tp,
                    "model.ffn.intermediate_size",
                    model.ffn().intermediateSize());
        }
        MoeConfig moe = model.moe();
        int ep = config.expertParallelSize();
        int etp = config.expertTensorParallelSize();
        if (moe != null) {
            split(problems, "expert_parallel_size", ep, "model.moe.experts", moe.experts());
            split(problems, "expert_tensor_parallel_size", etp, "model.moe.intermediate_size", moe.intermediateSize());
            if (moe.sharedExpert() != null) {
                int shared = moe.sharedExpert().intermediateSize();
                split(problems, tensor, tp, "model.moe.shared_expert.intermediate_size", shared);
            }
        } else if (ep > 1 || etp > 1) {
            problems.add(Problem.error(
                    ep > 1 ? "parallel.expert_parallel_size" : "parallel.expert_tensor_parallel_size",
                    ep > 1 ? ep : etp,
                    "a dense model has no experts to split",
                    "set it to 1"));
        }
        stages(config, model, problems);
        if (train != null) {
            int cp = config.contextParallelSize();
            long pieces = (cp == 1 ? 1L : 2L * cp) * tp;
            if (train.sequenceLength() % pieces != 0) {
                problems.add(Problem.error(
                        "train.sequence_length",
                        train.sequenceLength(),
                        "must be a multiple of " + pieces + " (2 chunks for each of " + cp + " context ranks, over "
                                + tp + " tensor ranks)",
                        "use " + roundUp(train.sequenceLength(), pieces)));
            }
        }
    }

    private static void stages(ParallelConfig config, ModelConfig model, List<Problem> problems) {
        long stages = (long) config.pipelineParallelSize() * config.virtualStages();
        List<Integer> layout = config.stageLayout();
        if (layout.isEmpty()) {
            if (stages > model.layers()) {
                problems.add(Problem.error(
                        "parallel.pipeline_parallel_size",
                        config.pipelineParallelSize(),
                        "the model has " + model.layers() + " blocks for " + stages + " pipeline chunks",
                        "lower pipeline_parallel_size or virtual_stages"));
            }
            return;
        }
        int last = layout.size() - 1;
        long sum = layout.stream().mapToLong(Integer::longValue).sum();
        boolean sizes = layout.size() == stages && sum == model.layers();
        for (int i = 0; i <= last; i++) {
            sizes &= layout.get(i) >= (stages > 1 && (i == 0 || i == last) ? 0 : 1);
        }
        if (!sizes) {
            problems.add(Problem.error(
                    "parallel.stage_layout",
                    layout,
                    "must be " + stages + " numbers (pipeline_parallel_size x virtual_stages) that add up to the "
                            + model.layers() + " blocks of the model, none below 1 except the first and the last",
                    "remove it for a balanced layout"));
        }
    }

    private static void split(List<Problem> problems, String degree, int ranks, String key, int size) {
        if (size % ranks != 0) {
            problems.add(Problem.error(
                    "parallel." + degree,
                    ranks,
                    "must divide " + key + " (" + size + ")",
                    "use " + ModelRules.divisorBelow(size, ranks)));
        }
    }

    /** Large enough not to divide any world where the true product would not fit. */
    private static long product(int a, int b, int c) {
        long two = (long) a * b;
        return two > Integer.MAX_VALUE ? two : two * c;
    }

    private static void divides(List<Problem> problems, ParallelConfig config, long product, String grid) {
        if (config.worldSize() % product != 0) {
            problems.add(Problem.error(
                    "parallel.world_size",
                    config.worldSize(),
                    "must be a multiple of " + product + " (" + grid + ")",
                    "set world_size to " + roundUp(config.worldSize(), product) + " or lower a degree"));
        }
    }

    private static long roundUp(long value, long multiple) {
        return ((value - 1) / multiple + 1) * multiple; // for value >= 1, where value + multiple might not fit
    }

    private static void atLeastOne(List<Problem> problems, String key, int value) {
        if (value < 1) {
            problems.add(Problem.error("parallel." + key, value, "must be at least 1", "set it to 1 or more"));
        }
    }
}
