package io.fourfold.hf;

import io.fourfold.config.AttentionConfig;
import io.fourfold.config.FfnConfig;
import io.fourfold.config.ModelConfig;
import io.fourfold.config.ModelConfig.HfFamily;
import io.fourfold.config.MoeConfig;
import io.fourfold.config.SharedExpertConfig;
import io.fourfold.model.ParameterNames;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/**
 * Names of a family's tensors on disk, in model order. Since release 5, transformers keeps the experts of a block fused
 * in memory (mlp.experts.gate_up_proj), but what it writes and what the hub holds are still the names used here.
 */
final class HfNames {
    private HfNames() {}

    /** Every tensor of the model; the configuration must be expressible in its family. */
    static List<HfTensor> tensors(ModelConfig model) {
        List<HfTensor> tensors = new ArrayList<>();
        long hidden = model.hiddenSize();
        tensors.add(HfTensor.whole(
                "model.embed_tokens.weight", ParameterNames.EMBEDDING, model.vocabSize(), model.hiddenSize()));
        for (int layer = 0; layer < model.layers(); layer++) {
            String prefix = "model.layers." + layer + ".";
            tensors.add(HfTensor.whole(
                    prefix + "input_layernorm.weight", ParameterNames.norm(layer, "attention_norm"), hidden));
            attention(tensors, model, layer, prefix + "self_attn.");
            tensors.add(HfTensor.whole(
                    prefix + "post_attention_layernorm.weight", ParameterNames.norm(layer, "ffn_norm"), hidden));
            if (model.isMoeLayer(layer)) {
                experts(tensors, model, layer, prefix);
            } else {
                FfnConfig ffn = Objects.requireNonNull(model.ffn());
                gated(tensors, prefix + "mlp.", ParameterNames.ffn(layer, "%s"), ffn.intermediateSize(), hidden);
            }
        }
        tensors.add(HfTensor.whole("model.norm.weight", ParameterNames.FINAL_NORM, hidden));
        if (!model.tieEmbeddings()) {
            tensors.add(HfTensor.whole("lm_head.weight", ParameterNames.HEAD, model.vocabSize(), hidden));
        }
        return tensors;
    }

    /** Shapes of the canonical tensors, experts stacked. */
    static Map<String, long[]> canonicalShapes(ModelConfig model) {
        Map<String, long[]> shapes = new LinkedHashMap<>();
        for (HfTensor tensor : tensors(model)) {
            if (tensor.expert() < 0) {
                shapes.put(tensor.canonical(), tensor.shape());
            } else {
                long experts = Objects.requireNonNull(model.moe()).experts();
                shapes.put(tensor.canonical(), new long[] {experts, tensor.shape()[0], tensor.shape()[1]});
            }
        }
        return shapes;
    }

    private static void attention(List<HfTensor> tensors, ModelConfig model, int layer, String prefix) {
        AttentionConfig attention = model.attention();
        long hidden = model.hiddenSize();
        for (String projection : List.of("q", "k", "v")) {
            long width = projection.equals("q") ? attention.queryWidth() : attention.kvWidth();
            String name = prefix + projection + "_proj.";
            tensors.add(HfTensor.whole(
                    name + "weight", ParameterNames.attention(layer, projection, "weight"), width, hidden));
            if (attention.qkvBias()) {
                tensors.add(HfTensor.whole(name + "bias", ParameterNames.attention(layer, projection, "bias"), width));
            }
        }
        tensors.add(HfTensor.whole(
                prefix + "o_proj.weight",
                ParameterNames.attention(layer, "o", "weight"),
                hidden,
                attention.queryWidth()));
        if (attention.qkNorm()) {
            for (String projection : List.of("q", "k")) {
                tensors.add(HfTensor.whole(
                        prefix + projection + "_norm.weight",
                        ParameterNames.headNorm(layer, projection),
                        attention.headDim()));
            }
        }
    }

    private static void experts(List<HfTensor> tensors, ModelConfig model, int layer, String prefix) {
        MoeConfig moe = Objects.requireNonNull(model.moe());
        boolean mixtral = model.family() == HfFamily.MIXTRAL;
        String block = prefix + (mixtral ? "block_sparse_moe." : "mlp.");
        long hidden = model.hiddenSize();
        long width = moe.intermediateSize();
        tensors.add(HfTensor.whole(block + "gate.weight", ParameterNames.router(layer), moe.experts(), hidden));
        for (int expert = 0; expert < moe.experts(); expert++) {
            String name = block + "experts." + expert + ".";
            tensors.add(HfTensor.expert(
                    name + (mixtral ? "w1" : "gate_proj") + ".weight",
                    ParameterNames.experts(layer, "gate"),
                    expert,
                    width,
                    hidden));
            tensors.add(HfTensor.expert(
                    name + (mixtral ? "w3" : "up_proj") + ".weight",
                    ParameterNames.experts(layer, "up"),
                    expert,
                    width,
                    hidden));
            tensors.add(HfTensor.expert(
                    name + (mixtral ? "w2" : "down_proj") + ".weight",
                    ParameterNames.experts(layer, "down"),
                    expert,
                    hidden,
                    width));
        }
        SharedExpertConfig shared = moe.sharedExpert();
        if (shared != null) {
            gated(
                    tensors,
                    block + "shared_expert.",
                    ParameterNames.shared(layer, "%s"),
                    shared.intermediateSize(),
                    hidden);
            tensors.add(
                    HfTensor.whole(block + "shared_expert_gate.weight", ParameterNames.sharedGate(layer), 1, hidden));
        }
    }

    /** The three matrices of a SwiGLU block; {@code canonical} has %s where gate, up or down stands. */
    private static void gated(List<HfTensor> tensors, String prefix, String canonical, long width, long hidden) {
        for (String projection : List.of("gate", "up", "down")) {
            boolean down = projection.equals("down");
            tensors.add(HfTensor.whole(
                    prefix + projection + "_proj.weight",
                    canonical.replace("%s", projection),
                    down ? hidden : width,
                    down ? width : hidden));
        }
    }
}
