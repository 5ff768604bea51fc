package io.fourfold.train;

import io.fourfold.checkpoint.LocalRunStorage;
import io.fourfold.checkpoint.RunStorage;
import io.fourfold.config.ConfigLoader;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.ResolvedConfig;
import io.fourfold.data.BatchReader;
import io.fourfold.kernels.cpu.CpuBackend;
import io.fourfold.metrics.RecordingSink;
import io.fourfold.metrics.Sinks;
import io.fourfold.metrics.StepMetrics;
import io.fourfold.model.MoeTransformer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** A run of a tiny model on synthetic data, with what its rank 0 reported. */
final class TinyRun {
    static final int VOCABULARY = 32;
    static final int SEQUENCE = 16;

    private final Map<String, String> settings = new TreeMap<>();
    private RunStorage storage;
    private Trainer.ModelFactory factory =
            (inputs, groups) -> TrainableModel.of(MoeTransformer.create(inputs.config(), inputs.backend(), groups));
    private BatchReaders readers = rank -> new SyntheticReader(SEQUENCE, VOCABULARY, 5);
    private RecordingSink sink = new RecordingSink();

    /** Makes the training reader of a rank. */
    interface BatchReaders {
        BatchReader open(int rank);
    }

    TinyRun(Path folder) {
        storage = new LocalRunStorage(folder);
    }

    TinyRun set(String key, Object value) {
        settings.put(key, value.toString());
        return this;
    }

    TinyRun storage(RunStorage other) {
        storage = other;
        return this;
    }

    TinyRun model(Trainer.ModelFactory other) {
        factory = other;
        return this;
    }

    TinyRun readers(BatchReaders other) {
        readers = other;
        return this;
    }

    FourfoldConfig config() {
        return tinyConfig(settings);
    }

    /** A two-block model, the second with experts, six steps, a checkpoint after each. */
    static FourfoldConfig tinyConfig(Map<String, String> settings) {
        Map<String, String> all = new TreeMap<>(settings);
        all.putIfAbsent("recipe.kind", "fp32");
        String yaml =
                """
                model:
                  name: tiny
                  layers: 2
                  hidden_size: 16
                  vocab_size: %d
                  attention: {heads: 2, kv_heads: 1, head_dim: 8}
                  ffn: {intermediate_size: 32}
                  moe:
                    experts: 4
                    top_k: 2
                    intermediate_size: 16
                    dense_layers: [0]
                    router: {score: sigmoid, normalize: true, bias_update_rate: 0.01, aux_loss_coeff: 0.01}
                train:
                  sequence_length: %d
                  global_batch_size: 4
                  steps: 6
                  eval_samples: 3
                  optimizer: {learning_rate: 0.01}
                  schedule: {warmup_steps: 2}
                run:
                  checkpoint: {every: 1, keep_last: 10}
                """
                        .formatted(VOCABULARY, SEQUENCE);
        List<String> sets = new ArrayList<>();
        all.forEach((key, value) -> sets.add(key + "=" + value));
        return ConfigLoader.parse("tiny", yaml, sets).config();
    }

    List<TrainResult> train() {
        sink = new RecordingSink();
        return Ranks.run(config().parallel().worldSize(), this::trainRank);
    }

    List<Ranks.Outcome<TrainResult>> outcomes() {
        sink = new RecordingSink();
        return Ranks.outcomes(config().parallel().worldSize(), this::trainRank);
    }

    private TrainResult trainRank(io.fourfold.kernels.comm.InProcessWorld world) {
        FourfoldConfig config = config();
        try (CpuBackend backend = new CpuBackend(1);
                BatchReader train = readers.open(world.rank());
                BatchReader validation = new SyntheticReader(SEQUENCE, VOCABULARY, 6)) {
            RunIdentity identity =
                    new RunIdentity(ResolvedConfig.of(config).sha256(), "tokenizer", "test");
            return new Trainer(
                            new TrainerInputs(
                                    config,
                                    backend,
                                    world,
                                    train,
                                    validation,
                                    world.rank() == 0 ? sink : Sinks.none(),
                                    storage,
                                    identity,
                                    1e6),
                            factory)
                    .run();
        }
    }

    RecordingSink sink() {
        return sink;
    }

    List<Double> losses() {
        return sink.steps().stream().map(StepMetrics::loss).toList();
    }

    List<Double> gradientNorms() {
        return sink.steps().stream().map(StepMetrics::gradNorm).toList();
    }

    List<String> events(String kind) {
        return sink.events().stream()
                .filter(event -> event.kind().equals(kind))
                .map(event -> event.message())
                .toList();
    }
}
