package io.fourfold.config;

import io.fourfold.kernels.op.RouterSpec;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.stream.IntStream;

/** Combinations within the model section. */
final class ModelRules {
    private static final double MOST_PARAMETERS = 1e15;

    private ModelRules() {}

    static void check(ModelConfig model, List<Problem> problems) {
        size(model, problems);
        attention(model.attention(), problems);
        layers(model, problems);
        if (model.moe() != null) {
            experts(model.moe(), problems);
            router(model.moe(), problems);
        }
    }

    /** Rejects typing errors before they overflow a count. */
    private static void size(ModelConfig model, List<Problem> problems) {
        AttentionConfig attention = model.attention();
        double hidden = model.hiddenSize();
        double inner = model.ffn() == null ? 0 : model.ffn().intermediateSize();
        MoeConfig moe = model.moe();
        if (moe != null) {
            inner += (double) moe.experts() * moe.intermediateSize();
            inner += moe.sharedExpert() == null ? 0 : moe.sharedExpert().intermediateSize();
        }
        double width = (double) attention.heads() * attention.headDim();
        double total = 2.0 * model.vocabSize() * hidden + model.layers() * hidden * (4 * width + 3 * inner);
        if (total > MOST_PARAMETERS || width > Integer.MAX_VALUE) {
            problems.add(Problem.error(
                    "model",
                    "",
                    String.format(Locale.ROOT, "the model would have about %.1e parameters", total),
                    "look for a typing error in hidden_size, layers, heads, head_dim, experts, intermediate_size or"
                            + " vocab_size"));
        }
    }

    private static void attention(AttentionConfig attention, List<Problem> problems) {
        if (attention.heads() % attention.kvHeads() != 0) {
            problems.add(Problem.error(
                    "model.attention.kv_heads",
                    attention.kvHeads(),
                    "must divide heads (" + attention.heads()
                            + "): each key/value head serves equally many query heads",
                    "use " + divisorBelow(attention.heads(), attention.kvHeads())));
        }
        if (attention.headDim() % 2 != 0) {
            problems.add(Problem.error(
                    "model.attention.head_dim",
                    attention.headDim(),
                    "must be even: rotary positions turn pairs",
                    "use " + (attention.headDim() + 1)));
        }
    }

    private static void layers(ModelConfig model, List<Problem> problems) {
        MoeConfig moe = model.moe();
        if (moe != null) {
            for (int layer : moe.denseLayers()) {
                if (layer < 0 || layer >= model.layers()) {
                    problems.add(Problem.error(
                            "model.moe.dense_layers",
                            layer,
                            "must be block indices 0.." + (model.layers() - 1),
                            "count blocks from 0"));
                }
            }
            if (new HashSet<>(moe.denseLayers()).size() < moe.denseLayers().size()) {
                problems.add(Problem.error(
                        "model.moe.dense_layers", moe.denseLayers(), "names a block twice", "list each block once"));
            }
        }
        long dense = IntStream.range(0, model.layers())
                .filter(layer -> !model.isMoeLayer(layer))
                .count();
        if (dense > 0 && model.ffn() == null) {
            problems.add(
                    Problem.error(
                            "model.ffn",
                            "",
                            dense + " of " + model.layers()
                                    + " blocks have no experts and need a dense feed-forward block",
                            moe == null
                                    ? "add model.ffn.intermediate_size, or model.moe for experts"
                                    : "add model.ffn.intermediate_size, or clear moe.dense_layers and set moe.layer_step to 1"));
        }
        if (dense == 0 && model.ffn() != null) {
            problems.add(Problem.warning(
                    "model.ffn", "", "is not used: every block has experts", "remove it or name moe.dense_layers"));
        }
        if (moe != null && dense == model.layers()) {
            problems.add(Problem.error(
                    "model.moe",
                    "",
                    "no block has experts: layer_step is " + moe.layerStep() + " and dense_layers " + moe.denseLayers(),
                    "lower layer_step, or remove model.moe for a dense model"));
        }
    }

    private static void experts(MoeConfig moe, List<Problem> problems) {
        if (moe.topK() > moe.experts()) {
            problems.add(Problem.error(
                    "model.moe.top_k",
                    moe.topK(),
                    "must not exceed experts (" + moe.experts() + ")",
                    "use at most " + moe.experts()));
        }
        CapacityConfig capacity = moe.capacity();
        if (capacity != null && !(capacity.factor() > 0)) {
            problems.add(Problem.error(
                    "model.moe.capacity.factor",
                    RecordBinder.plain(capacity.factor()),
                    "must be above 0: 0 would drop every token",
                    "use 1.0, or remove capacity to keep every token"));
        }
    }

    private static void router(MoeConfig moe, List<Problem> problems) {
        RouterConfig router = moe.router();
        if (moe.experts() % router.groups() != 0) {
            problems.add(Problem.error(
                    "model.moe.router.groups",
                    router.groups(),
                    "must divide experts (" + moe.experts() + ")",
                    "use " + divisorBelow(moe.experts(), router.groups())));
        } else if (router.groupTopK() > router.groups()) {
            problems.add(Problem.error(
                    "model.moe.router.group_top_k",
                    router.groupTopK(),
                    "must not exceed groups (" + router.groups() + ")",
                    "use at most " + router.groups()));
        } else if (router.groups() > 1
                && (moe.topK() % router.groupTopK() != 0
                        || moe.topK() / router.groupTopK() > moe.experts() / router.groups())) {
            problems.add(Problem.error(
                    "model.moe.router.group_top_k",
                    router.groupTopK(),
                    "must divide top_k (" + moe.topK() + "), and top_k / group_top_k must fit into a group of "
                            + moe.experts() / router.groups() + " experts",
                    "change group_top_k or groups"));
        }
        if (router.normalize() && router.score() == RouterSpec.Score.TOP_K_SOFTMAX) {
            problems.add(Problem.warning(
                    "model.moe.router.normalize",
                    true,
                    "has no effect with top_k_softmax, whose weights already sum to one",
                    "set it to false"));
        }
        if (router.biasUpdateRate() > 0 && router.auxLossCoeff() > 0.01) {
            problems.add(Problem.warning(
                    "model.moe.router.aux_loss_coeff",
                    router.auxLossCoeff(),
                    "is large beside the bias balancing that bias_update_rate turns on",
                    "balance by one of the two; DeepSeek-V3 uses 1e-4 beside the bias"));
        }
        if (!(router.scale() > 0)) {
            problems.add(Problem.error(
                    "model.moe.router.scale", router.scale(), "must be above 0", "use 1.0 for unscaled weights"));
        }
    }

    /** The largest divisor of {@code of} that is at most {@code wanted}; at least 1. */
    static int divisorBelow(int of, int wanted) {
        for (int d = Math.min(of, wanted); d > 1; d--) {
            if (of % d == 0) {
                return d;
            }
        }
        return 1;
    }
}
