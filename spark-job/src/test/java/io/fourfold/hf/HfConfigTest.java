package io.fourfold.hf;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.config.AttentionConfig;
import io.fourfold.config.CapacityConfig;
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
import java.util.List;
import java.util.Objects;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

final class HfConfigTest {
    @TempDir
    Path folder;

    private ModelConfig read(String json) throws IOException {
        return HfConfigReader.read(Files.writeString(folder.resolve("config.json"), json), "m");
    }

    private static MoeConfig moe(ModelConfig model) {
        return Objects.requireNonNull(model.moe());
    }

    /** As the hub has it for the first Mixtral: fields of release 4. */
    @Test
    void readsRelease4() throws IOException {
        ModelConfig model = read("""
                {"architectures": ["MixtralForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2,
                 "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336,
                 "max_position_embeddings": 32768, "model_type": "mixtral", "num_attention_heads": 32,
                 "num_experts_per_tok": 2, "num_hidden_layers": 32, "num_key_value_heads": 8, "num_local_experts": 8,
                 "output_router_logits": false, "rms_norm_eps": 1e-05, "rope_theta": 1000000.0,
                 "router_aux_loss_coef": 0.02, "sliding_window": null, "tie_word_embeddings": false,
                 "torch_dtype": "bfloat16", "vocab_size": 32000}
                """);
        assertThat(model.family()).isEqualTo(HfFamily.MIXTRAL);
        assertThat(model.attention()).isEqualTo(new AttentionConfig(32, 8, 128, false, false, 1e6));
        assertThat(moe(model).experts()).isEqualTo(8);
        assertThat(moe(model).intermediateSize()).isEqualTo(14336);
        assertThat(moe(model).router().score()).isEqualTo(RouterSpec.Score.TOP_K_SOFTMAX);
        assertThat(moe(model).router().auxLossCoeff()).isEqualTo(0.02);
        assertThat(model.maxPositions()).isEqualTo(32768);
        assertThat(model.normEpsilon()).isEqualTo(1e-5);
    }

    /** Fields of release 5: rope_parameters, num_local_experts, dtype. */
    @Test
    void readsRelease5() throws IOException {
        ModelConfig model = read("""
                {"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_size": 2048,
                 "num_hidden_layers": 48, "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128,
                 "vocab_size": 151936, "num_local_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768,
                 "norm_topk_prob": true, "decoder_sparse_step": 1, "mlp_only_layers": [], "intermediate_size": 6144,
                 "rope_parameters": {"rope_type": "default", "rope_theta": 5000000.0}, "rms_norm_eps": 1e-06,
                 "dtype": "bfloat16", "use_sliding_window": false, "sliding_window": null, "rope_scaling": null}
                """);
        assertThat(model.attention()).isEqualTo(new AttentionConfig(32, 4, 128, false, true, 5e6));
        assertThat(moe(model).experts()).isEqualTo(128);
        assertThat(moe(model).router().normalize()).isTrue();
        assertThat(model.ffn()).isNull();
    }

    @Test
    void refusesWhatItCannotRunWithAllReasons() {
        assertThatThrownBy(() -> read("""
                        {"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_size": 64,
                         "num_hidden_layers": 2, "num_attention_heads": 4, "num_experts": 8, "num_experts_per_tok": 2,
                         "moe_intermediate_size": "wide", "hidden_act": "gelu", "attention_bias": true,
                         "rope_scaling": {"type": "yarn", "factor": 4.0}, "use_sliding_window": true,
                         "quantization_config": {"quant_method": "fp8"}}
                        """))
                .isInstanceOf(HfException.class)
                .hasMessageContainingAll(
                        "hidden_act is gelu",
                        "rotary scaling yarn",
                        "attention_bias",
                        "sliding-window",
                        "quantization_config",
                        "moe_intermediate_size is \"wide\"",
                        "vocab_size is missing");
    }

    @Test
    void refusesOtherArchitectures() {
        assertThatThrownBy(() -> read("{\"model_type\": \"llama\", \"architectures\": [\"LlamaForCausalLM\"]}"))
                .hasMessageContaining("model_type \"llama\" with architecture \"LlamaForCausalLM\" is not known");
        assertThatThrownBy(() ->
                        read("{\"model_type\": \"mixtral\", \"architectures\": [\"MixtralForTokenClassification\"]}"))
                .hasMessageContaining("MixtralForTokenClassification");
        assertThatThrownBy(() -> HfConfigReader.read(folder.resolve("none.json"), "m"))
                .hasMessageContaining("cannot read");
    }

    @Test
    void exportNamesEveryReason() {
        RouterConfig router = new RouterConfig(
                RouterSpec.Score.SIGMOID, true, 2.5, 4, 2, 0.001, 0, RouterConfig.AuxLossScope.SEQUENCE, 0);
        MoeConfig moe = new MoeConfig(
                8,
                2,
                16,
                Activation.RELU2,
                router,
                new SharedExpertConfig(16, false),
                new CapacityConfig(1, CapacityConfig.Scope.SUB_SEQUENCE, CapacityConfig.Policy.PROBABILITY, false),
                List.of(0),
                1);
        ModelConfig model = ExportedModels.model(
                "odd",
                HfFamily.MIXTRAL,
                2,
                new AttentionConfig(4, 4, 8, true, true, 1e4),
                new FfnConfig(16, Activation.RELU2),
                moe,
                false,
                1e-5);
        assertThat(HfFamilies.reasons(model))
                .hasSize(11)
                .anyMatch(r -> r.contains("sigmoid"))
                .anyMatch(r -> r.contains("bias_update_rate"))
                .anyMatch(r -> r.contains("groups"))
                .anyMatch(r -> r.contains("scale"))
                .anyMatch(r -> r.contains("capacity"))
                .anyMatch(r -> r.contains("model.moe.activation is relu2"))
                .anyMatch(r -> r.contains("model.ffn.activation is relu2"))
                .anyMatch(r -> r.contains("qkv_bias"))
                .anyMatch(r -> r.contains("qk_norm"))
                .anyMatch(r -> r.contains("shared_expert"))
                .anyMatch(r -> r.contains("dense blocks"));
        ModelConfig dense = ExportedModels.model(
                "dense",
                HfFamily.NONE,
                2,
                new AttentionConfig(4, 4, 8, false, false, 1e4),
                new FfnConfig(16, Activation.SWIGLU),
                null,
                false,
                1e-5);
        assertThat(HfFamilies.reasons(dense))
                .anyMatch(r -> r.contains("family is none"))
                .anyMatch(r -> r.contains("dense model"));
        assertThatThrownBy(() -> HfFamilies.require(dense)).isInstanceOf(HfException.class);
    }

    @Test
    void tokenizerFilesAreCopied() throws IOException {
        Path tokenizer = Files.createDirectory(folder.resolve("tokenizer"));
        Files.writeString(tokenizer.resolve("tokenizer.json"), "{}");
        Files.writeString(tokenizer.resolve("special_tokens_map.json"), "{}");
        Files.writeString(tokenizer.resolve("pytorch_model.bin"), "no");
        ModelConfig model = ExportedModels.mixtral();
        Path out = folder.resolve("out");
        ExportReport report = HfExporter.export(
                new SyntheticTensors(model, 8),
                model,
                out,
                ExportOptions.of(SafetensorsType.F32).withTokenizer(TokenizerFiles.copyOf(tokenizer), 7));
        assertThat(report.files())
                .containsExactly(
                        "generation_config.json",
                        "model.safetensors",
                        "special_tokens_map.json",
                        "tokenizer.json",
                        "tokenizer_config.json",
                        "config.json");
        assertThat(report.notes()).isEmpty();
        assertThat(Files.readString(out.resolve("config.json"))).contains("\"eos_token_id\" : 7");

        ExportOptions empty = ExportOptions.of(SafetensorsType.F32)
                .withTokenizer(TokenizerFiles.copyOf(folder.resolve("none")), null);
        assertThatThrownBy(() -> HfExporter.export(new SyntheticTensors(model, 8), model, out, empty))
                .hasMessageContaining("holds no tokenizer files");
        try (HfModel still = HfImporter.open(out)) {
            assertThat(still.config().family()).isEqualTo(HfFamily.MIXTRAL);
        }
    }
}
