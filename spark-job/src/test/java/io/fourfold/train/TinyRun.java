package io.fourfold.train;

import io.fourfold.checkpoint.LocalRunStorage;
import io.fourfold.checkpoint.RunStorage;
import io.fourfold.config.ConfigLoader;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.ResolvedConfig;
import io.fourfold.data.BatchReader;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.CommunicationWorld;
import io.fourfold.kernels.comm.InProcessWorld;
import io.fourfold.kernels.cpu.CpuBackend;
import io.fourfold.metrics.MetricsSink;
import io.fourfold.metrics.RecordingSink;
import io.fourfold.metrics.Sinks;
import io.fourfold.metrics.StepMetrics;
import io.fourfold.model.MoeTransformer;
import java.net.URISyntaxException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.function.Supplier;

/** A run of a tiny model on synthetic data, with what its rank 0 reported. */
public final class TinyRun {
    public static final int VOCABULARY = 32;
    public static final int SEQUENCE = 16;

    private final Map<String, String> settings = new TreeMap<>();
    private RunStorage storage;
    private Trainer.ModelFactory factory =
            (inputs, groups) -> TrainableModel.of(MoeTransformer.create(inputs.config(), inputs.backend(), groups));
    private BatchReaders readers = rank -> new SyntheticReader(SEQUENCE, VOCABULARY, 5);
    private final Map<Integer, MetricsSink> others = new HashMap<>();
    private RecordingSink sink = new RecordingSink();
    private Supplier<Backend> backends = () -> new CpuBackend(1);

    /** Makes the training reader of a rank. */
    public interface BatchReaders {
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

    TinyRun backend(Supplier<Backend> other) {
        backends = other;
        return this;
    }

    FourfoldConfig config() {
        return tinyConfig(settings);
    }

    /** Two blocks, the second with experts; six steps, a checkpoint after each. */
    public static FourfoldConfig tinyConfig(Map<String, String> settings) {
        Map<String, String> all = new TreeMap<>(settings);
        all.putIfAbsent("recipe.kind", "fp32");
        List<String> sets = new ArrayList<>();
        all.forEach((key, value) -> sets.add(key + "=" + value));
        return ConfigLoader.load(List.of(resource("tiny-run.yaml")), sets).config();
    }

    private static Path resource(String name) {
        try {
            return Path.of(
                    Objects.requireNonNull(TinyRun.class.getResource(name)).toURI());
        } catch (URISyntaxException e) {
            throw new IllegalStateException(e);
        }
    }

    List<TrainResult> train() {
        sink = new RecordingSink();
        return Ranks.run(config().parallel().worldSize(), this::trainRank);
    }

    List<Ranks.Outcome<TrainResult>> outcomes() {
        sink = new RecordingSink();
        return Ranks.outcomes(config().parallel().worldSize(), this::trainRank);
    }

    private TrainResult trainRank(InProcessWorld world) {
        FourfoldConfig config = config();
        try (Backend backend = backends.get();
                BatchReader train = readers.open(world.rank());
                BatchReader validation = new SyntheticReader(SEQUENCE, VOCABULARY, 6)) {
            RunIdentity identity = new RunIdentity(ResolvedConfig.of(config).sha256(), "tokenizer", "test");
            CommunicationWorld ranks = backend.communicating(world);
            try {
                TrainerInputs inputs = new TrainerInputs(
                        config,
                        backend,
                        ranks,
                        train,
                        validation,
                        world.rank() == 0 ? sink : others.getOrDefault(world.rank(), Sinks.none()),
                        storage,
                        identity,
                        1e6);
                return new Trainer(inputs, factory).run();
            } finally {
                if (ranks != world) {
                    ranks.close();
                }
            }
        }
    }

    /** Reports to a sink on a rank other than 0 too. */
    TinyRun sink(int rank, MetricsSink other) {
        others.put(rank, other);
        return this;
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
