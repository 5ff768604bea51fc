package io.fourfold.config;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

/** The defaults as users get them, word for word: changing one changes what existing configurations mean. */
class DefaultsTest {
    @Test
    void resolvedDefaults() {
        String yaml = ResolvedConfig.of(
                        ConfigLoader.parse("test", ConfigLoaderTest.DENSE).config())
                .yaml();
        assertThat(yaml).isEqualTo("""
                        model:
                          name: small
                          family: none
                          layers: 2
                          hidden_size: 64
                          vocab_size: 512
                          attention:
                            heads: 4
                            kv_heads: 2
                            head_dim: 16
                            qkv_bias: false
                            qk_norm: false
                            rope_theta: 10000.0
                          ffn:
                            intermediate_size: 128
                            activation: swiglu
                          moe: null
                          tie_embeddings: false
                          norm_epsilon: 1.0e-5
                          init_std: 0.02
                          max_positions: 4096
                        recipe:
                          kind: bf16
                          high_precision:
                            first: 0
                            last: 0
                            modules: []
                          scale_formula: te_2_14
                          stochastic_rounding: true
                          hadamard: true
                          weight2d: true
                          fp8_scaling: block
                          dispatch: exact
                          late_switch:
                            step: -1
                            direction: forward
                          telemetry_every: 20
                        parallel:
                          world_size: 1
                          tensor_parallel_size: 1
                          context_parallel_size: 1
                          context_exchange: gather
                          pipeline_parallel_size: 1
                          expert_parallel_size: 1
                          expert_tensor_parallel_size: 1
                          dispatch_unit: token
                          virtual_stages: 1
                          stage_layout: []
                          gradients:
                            overlap: false
                            bucket_mib: 0
                            format: fp32
                            weights: exact
                        data:
                          sources: {}
                          text_field: text
                          prepared: data/prepared
                          tokenizer: bytes
                          end_of_document: null
                          validation_fraction: 0.01
                          dedup: true
                          max_document_bytes: 33554432
                          tokens_per_shard: 16777216
                          blend: {}
                          document_mask: true
                          reset_positions: false
                          mask_document_start: true
                          verify_checksums: true
                        train:
                          sequence_length: 1024
                          global_batch_size: 8
                          micro_batch_size: 1
                          steps: 100
                          seed: 1234
                          optimizer:
                            learning_rate: 3.0e-4
                            min_learning_rate: 3.0e-6
                            beta1: 0.9
                            beta2: 0.95
                            epsilon: 1.0e-8
                            weight_decay: 0.1
                            clip_norm: 1.0
                          schedule:
                            kind: wsd
                            warmup_steps: 0
                            decay_fraction: 0.2
                          eval_every: 0
                          eval_samples: 32
                          recompute: []
                          lend_gradients: true
                          cuda_graphs: true
                        run:
                          name: run
                          dir: runs/run
                          backend: auto
                          cpu_threads: 1
                          timeouts:
                            start_seconds: 120
                            step_seconds: 1800
                          peak_tflops: 0.0
                          checkpoint:
                            every: 0
                            keep_last: 2
                            keep_every: 0
                            async: true
                            resume: true
                          mlflow:
                            uri: ""
                            experiment: fourfold
                          log_every: 10
                          tensorboard: true
                          restart:
                            by: driver
                            max_restarts: 10
                            backoff_seconds: 1.0
                            max_backoff_seconds: 60.0
                            wait_seconds: 120.0
                            min_world_size: 0
                            exclude_host_after: 3
                            on_non_finite: stop
                          faults: []
                        """);
    }

    @Test
    void expertDefaults() {
        String yaml = ResolvedConfig.section(
                "model",
                ConfigLoader.parse(
                                "test",
                                ConfigLoaderTest.DENSE.replaceAll("(?s)  ffn:.*", "")
                                        + "  moe: {experts: 4, top_k: 2, intermediate_size: 64, capacity: {}}\n")
                        .config()
                        .model());
        assertThat(yaml.substring(yaml.indexOf("  moe:"))).isEqualTo("""
                          moe:
                            experts: 4
                            top_k: 2
                            intermediate_size: 64
                            activation: swiglu
                            router:
                              score: softmax_top_k
                              normalize: false
                              scale: 1.0
                              groups: 1
                              group_top_k: 1
                              bias_update_rate: 0.0
                              aux_loss_coeff: 0.0
                              aux_loss_scope: micro_batch
                              z_loss_coeff: 0.0
                            shared_expert: null
                            capacity:
                              factor: 1.0
                              scope: sub_sequence
                              policy: probability
                              pad: false
                            dense_layers: []
                            layer_step: 1
                          tie_embeddings: false
                          norm_epsilon: 1.0e-5
                          init_std: 0.02
                          max_positions: 4096
                        """);
    }
}
