package io.fourfold.hf;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.fourfold.config.AttentionConfig;
import io.fourfold.config.FailureReason;
import io.fourfold.config.FfnConfig;
import io.fourfold.config.ModelConfig;
import io.fourfold.config.ModelConfig.HfFamily;
import io.fourfold.config.MoeConfig;
import io.fourfold.config.RouterConfig;
import io.fourfold.config.SharedExpertConfig;
import io.fourfold.kernels.op.Activation;
import io.fourfold.kernels.op.RouterSpec;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Reads config.json as transformers 4 and 5 write it. Absent fields take the model class's own defaults where it has
 * any; sizes must be given. What Fourfold cannot run is refused with all reasons at once.
 */
final class HfConfigReader {
    private static final ObjectMapper JSON = new ObjectMapper();

    private static final String FOLDER = "A Hugging Face folder has a config.json beside its safetensors files";

    private final JsonNode json;
    private final List<String> problems = new ArrayList<>();

    private HfConfigReader(JsonNode json) {
        this.json = json;
    }

    /**
     * @param file a config.json
     * @param name the model's name
     */
    static ModelConfig read(Path file, String name) {
        if (!Files.isRegularFile(file)) {
            throw new HfException("cannot read " + file + ": there is no such file. " + FOLDER);
        }
        JsonNode json;
        try {
            json = JSON.readTree(Files.readAllBytes(file));
        } catch (IOException e) {
            throw new HfException("cannot read " + file + ": " + FailureReason.of(e) + ". " + FOLDER, e);
        }
        HfConfigReader reader = new HfConfigReader(json);
        ModelConfig model = reader.model(name);
        if (model == null || !reader.problems.isEmpty()) {
            throw HfException.of(
                    file + " cannot be imported",
                    reader.problems,
                    "Fourfold imports MixtralForCausalLM, Qwen2MoeForCausalLM and Qwen3MoeForCausalLM.");
        }
        return model;
    }

    private @Nullable ModelConfig model(String name) {
        HfFamily family = family();
        if (family == HfFamily.NONE) {
            return null;
        }
        checkUnsupported(family);
        int hidden = size("hidden_size");
        AttentionConfig attention = attention(family, hidden);
        MoeConfig moe = moe(family);
        ModelConfig model = new ModelConfig(
                name,
                family,
                size("num_hidden_layers"),
                hidden,
                size("vocab_size"),
                attention,
                null,
                moe,
                json.path("tie_word_embeddings").asBoolean(false),
                json.path("rms_norm_eps").asDouble(family == HfFamily.MIXTRAL ? 1e-5 : 1e-6),
                json.path("initializer_range").asDouble(0.02),
                integer("max_position_embeddings", family == HfFamily.MIXTRAL ? 131072 : 32768));
        return HfFamilies.hasDenseLayers(model) ? withFfn(model, size("intermediate_size")) : model;
    }

    private static ModelConfig withFfn(ModelConfig m, int width) {
        return new ModelConfig(
                m.name(),
                m.family(),
                m.layers(),
                m.hiddenSize(),
                m.vocabSize(),
                m.attention(),
                new FfnConfig(width, Activation.SWIGLU),
                m.moe(),
                m.tieEmbeddings(),
                m.normEpsilon(),
                m.initStd(),
                m.maxPositions());
    }

    private HfFamily family() {
        String type = json.path("model_type").asText("");
        String architecture = json.path("architectures").path(0).asText("");
        for (HfFamily family : HfFamily.values()) {
            if (family != HfFamily.NONE
                    && type.equals(HfFamilies.modelType(family))
                    && (architecture.isEmpty() || architecture.equals(HfFamilies.architecture(family)))) {
                return family;
            }
        }
        problems.add("model_type \"" + type + "\" with architecture \"" + architecture + "\" is not known");
        return HfFamily.NONE;
    }

    private AttentionConfig attention(HfFamily family, int hidden) {
        int heads = size("num_attention_heads");
        int kvHeads = integer("num_key_value_heads", heads);
        int headDim = integer("head_dim", hidden / heads);
        // Qwen2-MoE had its biases before the field existed.
        boolean bias = family == HfFamily.QWEN2_MOE && json.path("qkv_bias").asBoolean(true);
        return new AttentionConfig(heads, kvHeads, headDim, bias, family == HfFamily.QWEN3_MOE, ropeTheta(family));
    }

    private double ropeTheta(HfFamily family) {
        JsonNode theta = rope().path("rope_theta");
        if (!theta.isNumber()) {
            theta = json.path("rope_theta");
        }
        return theta.asDouble(family == HfFamily.MIXTRAL ? 1e6 : 1e4);
    }

    /** The scaling settings: rope_parameters since release 5, rope_scaling before. */
    private JsonNode rope() {
        JsonNode parameters = json.path("rope_parameters");
        return parameters.isObject() ? parameters : json.path("rope_scaling");
    }

    private MoeConfig moe(HfFamily family) {
        boolean mixtral = family == HfFamily.MIXTRAL;
        // Release 5 writes either name for either family.
        int experts = size(json.hasNonNull("num_experts") ? "num_experts" : "num_local_experts");
        boolean normalize = !mixtral && json.path("norm_topk_prob").asBoolean(false);
        RouterConfig router = new RouterConfig(
                mixtral ? RouterSpec.Score.TOP_K_SOFTMAX : RouterSpec.Score.SOFTMAX_TOP_K,
                normalize,
                1.0,
                1,
                1,
                0.0,
                json.path("router_aux_loss_coef").asDouble(0.001),
                RouterConfig.AuxLossScope.MICRO_BATCH,
                0.0);
        SharedExpertConfig shared = family == HfFamily.QWEN2_MOE
                ? new SharedExpertConfig(size("shared_expert_intermediate_size"), true)
                : null;
        return new MoeConfig(
                experts,
                size("num_experts_per_tok"),
                size(mixtral ? "intermediate_size" : "moe_intermediate_size"),
                Activation.SWIGLU,
                router,
                shared,
                null,
                mixtral ? List.of() : denseLayers(),
                mixtral ? 1 : integer("decoder_sparse_step", 1));
    }

    private List<Integer> denseLayers() {
        List<Integer> layers = new ArrayList<>();
        json.path("mlp_only_layers").forEach(layer -> layers.add(layer.asInt()));
        return layers;
    }

    private void checkUnsupported(HfFamily family) {
        String activation = json.path("hidden_act").asText("silu");
        if (!activation.equals("silu")) {
            problems.add("hidden_act is " + activation + ", supported is silu");
        }
        JsonNode rope = rope();
        String ropeType = rope.path("rope_type").asText(rope.path("type").asText("default"));
        if (!ropeType.equals("default")) {
            problems.add("rotary scaling " + ropeType + " is not supported, only default");
        }
        if (rope.path("partial_rotary_factor").asDouble(1) != 1
                || json.path("partial_rotary_factor").asDouble(1) != 1) {
            problems.add("partial_rotary_factor is not 1: rotating a part of each head is not supported");
        }
        if (json.path("attention_bias").asBoolean(false)) {
            problems.add("attention_bias is true: it includes the output projection, which has no bias here");
        }
        if (slidingWindow(family)) {
            problems.add("sliding-window attention is not supported: every position sees all before it");
        }
        if (json.hasNonNull("quantization_config")) {
            problems.add("quantization_config: the weights are quantized; import the original checkpoint");
        }
    }

    private boolean slidingWindow(HfFamily family) {
        if (json.path("layer_types").isArray()) {
            for (JsonNode type : json.path("layer_types")) {
                if (type.asText().equals("sliding_attention")) {
                    return true;
                }
            }
            return false;
        }
        if (family == HfFamily.MIXTRAL) {
            // A window as wide as the context hides nothing.
            return json.hasNonNull("sliding_window")
                    && json.path("sliding_window").asInt() < integer("max_position_embeddings", 131072);
        }
        return json.path("use_sliding_window").asBoolean(false);
    }

    /** A size that must be given; 1 and a problem when it is not. */
    private int size(String field) {
        JsonNode value = json.path(field);
        if (!value.isIntegralNumber() || value.asLong() < 1 || value.asLong() > Integer.MAX_VALUE) {
            problems.add(
                    field + " is " + (value.isMissingNode() ? "missing" : value) + ", needed is a positive integer");
            return 1;
        }
        return value.asInt();
    }

    private int integer(String field, int fallback) {
        return json.hasNonNull(field) ? size(field) : fallback;
    }
}
