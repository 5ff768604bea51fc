package io.fourfold.model;

import static io.fourfold.model.ParameterDeclarations.local;

import io.fourfold.config.AttentionConfig;
import io.fourfold.config.ContextExchange;
import io.fourfold.config.FfnConfig;
import io.fourfold.config.ModelConfig;
import io.fourfold.config.MoeConfig;
import io.fourfold.config.RecomputeModule;
import io.fourfold.config.SharedExpertConfig;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.op.Activation;
import io.fourfold.moe.Router;
import io.fourfold.moe.TokenDispatcher;
import io.fourfold.parallel.Stage;
import io.fourfold.precision.LinearKind;
import io.fourfold.precision.Recipe;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * Builds the chunks of a model over declared parameters.
 *
 * @param ranks tensor and context parallelism
 * @param contextExchange how attention sees the keys of other context ranks
 * @param expertTensorGroup ranks that hold parts of the same experts (ETP)
 * @param dispatcher null for a model without experts
 * @param routers one for each MoE block of this rank, in order
 */
record BlockFactory(
        ModelConfig model,
        Recipe recipe,
        Backend backend,
        ParameterStore store,
        ParameterDeclarations declarations,
        SequenceParallel ranks,
        ContextExchange contextExchange,
        Communicator expertTensorGroup,
        @Nullable TokenDispatcher dispatcher,
        List<Router> routers) {

    /** A chunk for each stage. */
    List<ModelChunk> chunks(List<Stage> stages) {
        List<Integer> moeLayers = ModelAssembly.moeLayers(model, stages);
        return stages.stream().map(stage -> chunk(stage, moeLayers)).toList();
    }

    private ModelChunk chunk(Stage stage, List<Integer> moeLayers) {
        OutputHead head = stage.last()
                ? new OutputHead(
                        backend,
                        norm(ParameterDeclarations.FINAL_NORM),
                        store.get(ParameterDeclarations.headWeight(model, stage)),
                        ranks)
                : null;
        return new ModelChunk(
                model.hiddenSize(),
                stage.first()
                        ? new Embedding(store.get(ParameterDeclarations.EMBEDDING), ranks, model.tieEmbeddings())
                        : null,
                blocks(stage.firstLayer(), stage.endLayer(), moeLayers),
                head);
    }

    /** Blocks {@code [from, to)}. */
    private List<Block> blocks(int from, int to, List<Integer> moeLayers) {
        List<Block> blocks = new ArrayList<>();
        for (int layer = from; layer < to; layer++) {
            MoeConfig moe = model.moe();
            Sublayer feedForward;
            if (moe != null && model.isMoeLayer(layer)) {
                feedForward = experts(layer, moe, moeLayers.indexOf(layer));
            } else {
                feedForward = denseFfn(layer);
            }
            blocks.add(new Block(
                    layer,
                    new Block.Branch(norm(local(layer, "attention_norm")), attention(layer), RecomputeModule.ATTENTION),
                    new Block.Branch(norm(local(layer, "ffn_norm")), feedForward, RecomputeModule.EXPERT)));
        }
        return blocks;
    }

    private RmsNorm norm(String parameter) {
        return new RmsNorm(store.get(parameter), (float) model.normEpsilon());
    }

    private SelfAttention attention(int layer) {
        SelfAttention.HeadNorm headNorm = model.attention().qkNorm()
                ? new SelfAttention.HeadNorm(
                        store.get(local(layer, "attention.q_norm")),
                        store.get(local(layer, "attention.k_norm")),
                        (float) model.normEpsilon())
                : null;
        Parameter bias = model.attention().qkvBias() ? store.get(local(layer, "attention.qkv_bias")) : null;
        AttentionConfig whole = model.attention();
        return new SelfAttention(
                new CoreAttention(backend, ownHeads(whole), ranks, contextExchange),
                linear(layer, LinearKind.QKV, bias, byOutput(whole.queryWidth(), whole.kvWidth(), whole.kvWidth())),
                linear(layer, LinearKind.ATTENTION_OUTPUT, null, LinearSplit.byInput(ranks)),
                headNorm);
    }

    private AttentionConfig ownHeads(AttentionConfig whole) {
        int parts = ranks.tensor().size();
        return new AttentionConfig(
                whole.heads() / parts,
                whole.kvHeads() / parts,
                whole.headDim(),
                whole.qkvBias(),
                whole.qkNorm(),
                whole.ropeTheta());
    }

    private LinearSplit byOutput(int... segments) {
        return LinearSplit.byOutput(ranks, backend, store.constants(), segments);
    }

    /** Of a fused gate and up projection, or up alone. */
    private LinearSplit upSplit(Activation activation, int inner) {
        int[] segments = new int[activation.inputFactor()];
        Arrays.fill(segments, inner);
        return byOutput(segments);
    }

    private DenseFfn denseFfn(int layer) {
        FfnConfig ffn = declarations.requireFfn(layer);
        return new DenseFfn(
                "ffn",
                ffn.activation(),
                ffn.intermediateSize() / ranks.tensor().size(),
                linear(layer, LinearKind.FFN_UP, null, upSplit(ffn.activation(), ffn.intermediateSize())),
                linear(layer, LinearKind.FFN_DOWN, null, LinearSplit.byInput(ranks)));
    }

    MoeFfn experts(int layer, MoeConfig moe, int moeIndex) {
        MoeFfn.Layers layers = new MoeFfn.Layers(
                new Linear(
                        backend,
                        LinearFormats.exact(local(layer, "router")),
                        store.get(local(layer, "moe.router")),
                        null,
                        LinearSplit.whole(ranks)),
                grouped(layer, LinearKind.EXPERT_UP, expertUpSplit(moe)),
                grouped(layer, LinearKind.EXPERT_DOWN, WeightSplit.byInput(WeightSplit.Groups.of(expertTensorGroup))),
                moe.sharedExpert() == null ? null : sharedExpert(layer, moe, moe.sharedExpert()));
        return new MoeFfn(
                backend,
                moe,
                layer,
                moeIndex,
                declarations.expertInner(moe),
                layers,
                routers.get(moeIndex),
                Objects.requireNonNull(dispatcher));
    }

    private SharedExpert sharedExpert(int layer, MoeConfig moe, SharedExpertConfig shared) {
        DenseFfn ffn = new DenseFfn(
                "shared",
                moe.activation(),
                shared.intermediateSize() / ranks.tensor().size(),
                linear(layer, LinearKind.SHARED_UP, null, upSplit(moe.activation(), shared.intermediateSize())),
                linear(layer, LinearKind.SHARED_DOWN, null, LinearSplit.byInput(ranks)));
        Linear gate = shared.gated()
                ? new Linear(
                        backend,
                        LinearFormats.exact(local(layer, "shared_gate")),
                        store.get(local(layer, "moe.shared_gate")),
                        null,
                        LinearSplit.whole(ranks))
                : null;
        return new SharedExpert(backend, ffn, gate);
    }

    private Linear linear(int layer, LinearKind kind, @Nullable Parameter bias, LinearSplit split) {
        return new Linear(
                backend,
                LinearFormats.of(recipe, layer, kind),
                store.get(LinearWeights.name(layer, kind)),
                bias,
                split);
    }

    private WeightSplit expertUpSplit(MoeConfig moe) {
        int[] segments = new int[moe.activation().inputFactor()];
        Arrays.fill(segments, moe.intermediateSize());
        return WeightSplit.byOutput(WeightSplit.Groups.of(expertTensorGroup), backend, store.constants(), segments);
    }

    private GroupedLinear grouped(int layer, LinearKind kind, WeightSplit split) {
        return new GroupedLinear(
                backend,
                LinearFormats.of(recipe, layer, kind),
                store.get(LinearWeights.name(layer, kind)),
                declarations.firstExpert(),
                split,
                store.gradientSquares());
    }
}
