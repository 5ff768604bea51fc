package io.fourfold.hf;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.fourfold.config.AttentionConfig;
import io.fourfold.config.FfnConfig;
import io.fourfold.config.ModelConfig;
import io.fourfold.config.ModelConfig.HfFamily;
import io.fourfold.config.MoeConfig;
import io.fourfold.kernels.op.RouterSpec;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * Writes config.json. Where transformers renamed a field between its releases 4 and 5, both are written: torch_dtype and
 * rope_theta for 4, rope_parameters for 5.
 */
final class HfConfigWriter {
    private static final ObjectMapper JSON = new ObjectMapper();

    private HfConfigWriter() {}

    /**
     * @param model expressible in its family
     * @param type element type of the exported weights
     * @param endOfText id that ends a text; null = unknown
     */
    static ObjectNode config(ModelConfig model, SafetensorsType type, @Nullable Integer endOfText) {
        AttentionConfig attention = model.attention();
        MoeConfig moe = Objects.requireNonNull(model.moe());
        ObjectNode json = JSON.createObjectNode();
        json.putArray("architectures").add(HfFamilies.architecture(model.family()));
        json.put("model_type", HfFamilies.modelType(model.family()));
        json.put("vocab_size", model.vocabSize());
        json.put("hidden_size", model.hiddenSize());
        json.put("num_hidden_layers", model.layers());
        json.put("num_attention_heads", attention.heads());
        json.put("num_key_value_heads", attention.kvHeads());
        if (model.family() != HfFamily.QWEN2_MOE) {
            json.put("head_dim", attention.headDim());
        }
        json.put("hidden_act", "silu");
        json.put("max_position_embeddings", model.maxPositions());
        json.put("rms_norm_eps", model.normEpsilon());
        json.put("initializer_range", model.initStd());
        json.put("tie_word_embeddings", model.tieEmbeddings());
        json.put("rope_theta", attention.ropeTheta());
        json.putObject("rope_parameters").put("rope_type", "default").put("rope_theta", attention.ropeTheta());
        json.put("attention_dropout", 0.0);
        json.putNull("sliding_window");
        json.put("use_cache", true);
        json.put("num_experts_per_tok", moe.topK());
        json.put("router_aux_loss_coef", moe.router().auxLossCoeff());
        json.put("output_router_logits", false);
        if (model.family() == HfFamily.MIXTRAL) {
            json.put("num_local_experts", moe.experts());
            json.put("intermediate_size", moe.intermediateSize());
        } else {
            qwen(json, model, moe);
        }
        // Mixtral's defaults are 1 and 2, so "none" has to be said.
        json.putNull("bos_token_id");
        json.put("eos_token_id", endOfText);
        json.putNull("pad_token_id");
        json.put("torch_dtype", type == SafetensorsType.BF16 ? "bfloat16" : "float32");
        return json;
    }

    private static void qwen(ObjectNode json, ModelConfig model, MoeConfig moe) {
        FfnConfig ffn = model.ffn();
        json.put("num_experts", moe.experts());
        json.put("moe_intermediate_size", moe.intermediateSize());
        // Width of the dense blocks; the classes require it even where there are none.
        json.put("intermediate_size", ffn == null ? moe.intermediateSize() : ffn.intermediateSize());
        boolean normalize = moe.router().normalize() || moe.router().score() == RouterSpec.Score.TOP_K_SOFTMAX;
        json.put("norm_topk_prob", normalize);
        json.put("decoder_sparse_step", moe.layerStep());
        var dense = json.putArray("mlp_only_layers");
        moe.denseLayers().forEach(dense::add);
        json.put("use_sliding_window", false);
        if (model.family() == HfFamily.QWEN2_MOE) {
            json.put(
                    "shared_expert_intermediate_size",
                    Objects.requireNonNull(moe.sharedExpert()).intermediateSize());
            json.put("qkv_bias", model.attention().qkvBias());
        } else {
            json.put("attention_bias", false);
        }
    }

    static ObjectNode generationConfig(@Nullable Integer endOfText) {
        ObjectNode json = JSON.createObjectNode();
        json.put("_from_model_config", true);
        json.put("eos_token_id", endOfText);
        return json;
    }
}
