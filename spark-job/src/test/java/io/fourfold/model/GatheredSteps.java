package io.fourfold.model;

import io.fourfold.bench.BenchRanks;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.Batch;
import io.fourfold.kernels.Backend;
import io.fourfold.optim.GradientNorm;
import io.fourfold.optim.ShardedAdamW;
import io.fourfold.parallel.Axis;
import io.fourfold.parallel.ParallelMapping;
import io.fourfold.parallel.ProcessGroups;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * Some optimizer steps of every rank, with evaluations between them, to compare ways of gathering the weights.
 *
 * @param losses of each step by rank, then each evaluation's
 * @param norms of the gradients
 * @param weights of each rank, whole, by kind
 * @param bytes each rank sent in the steps, by axis
 */
record GatheredSteps(
        List<Double> losses, List<Double> norms, List<List<float[]>> weights, List<Map<String, Long>> bytes) {
    static final int STEPS = 5;
    private static final Duration LIMIT = Duration.ofSeconds(120);
    private static final double LEARNING_RATE = 0.01;

    private record OfRank(List<Double> losses, List<Double> norms, List<float[]> weights, Map<String, Long> bytes) {}

    /** On as many ranks as the configuration has. */
    static GatheredSteps run(BenchRanks ranks, FourfoldConfig config) throws InterruptedException {
        List<Double> losses = new ArrayList<>();
        List<Double> norms = new ArrayList<>();
        List<List<float[]>> weights = new ArrayList<>();
        List<Map<String, Long>> bytes = new ArrayList<>();
        for (OfRank rank : ranks.run(LIMIT, rank -> steps(rank, config))) {
            losses.addAll(rank.losses);
            norms.addAll(rank.norms);
            weights.add(rank.weights);
            bytes.add(rank.bytes);
        }
        return new GatheredSteps(losses, norms, weights, bytes);
    }

    /** Sent by all ranks along an axis. */
    long bytes(String axis) {
        return bytes.stream().mapToLong(rank -> rank.getOrDefault(axis, 0L)).sum();
    }

    private static OfRank steps(BenchRanks.Rank rank, FourfoldConfig config) {
        Backend backend = rank.device().backend();
        ParallelMapping mapping = ParallelMapping.of(config.parallel());
        List<Double> losses = new ArrayList<>();
        List<Double> norms = new ArrayList<>();
        Map<String, Long> bytes = new TreeMap<>();
        try (ProcessGroups groups = ProcessGroups.create(mapping, rank.world());
                MoeTransformer model = MoeTransformer.create(config, backend, groups);
                ShardedAdamW optimizer = new ShardedAdamW(
                        backend,
                        model.parameters(),
                        config.train().optimizer(),
                        config.parallel().gradients(),
                        groups)) {
            model.listen(optimizer.listener());
            model.initialize(7);
            for (int step = 1; step <= STEPS; step++) {
                Map<String, Long> before = groups.bytesSent();
                Batch batch = TinyModels.batch(config, config.train().globalBatchSize(), 20 + step);
                int each = batch.samples() / mapping.data();
                Batch own = TinyModels.slice(batch, mapping.coordinate(Axis.DP, rank.index()) * each, each);
                losses.add(train(model, optimizer, config, own, step, norms));
                groups.bytesSent()
                        .forEach((axis, all) -> bytes.merge(axis, all - before.getOrDefault(axis, 0L), Long::sum));
                if (step == 2 || step == 4) {
                    losses.add(model.evaluate(own, EvaluationPrecision.RECIPE));
                }
                if (step == 4) {
                    losses.add(model.evaluate(own, EvaluationPrecision.UNQUANTIZED));
                }
            }
            optimizer.gatherWeights();
            List<float[]> weights = new ArrayList<>();
            for (Parameter.Kind kind : Parameter.Kind.values()) {
                weights.add(backend.download(model.parameters().flatWeights(kind)));
            }
            return new OfRank(losses, norms, weights, bytes);
        }
    }

    private static double train(
            MoeTransformer model,
            ShardedAdamW optimizer,
            FourfoldConfig config,
            Batch own,
            int step,
            List<Double> norms) {
        int every = config.recipe().telemetryEvery();
        QuantizationTelemetry telemetry = every > 0 && step % every == 0 ? new QuantizationTelemetry() : null;
        double labels =
                (double) config.train().globalBatchSize() * config.train().sequenceLength();
        StepContext context =
                new StepContext(step, 3, 1 / labels, config.train().globalBatchSize(), telemetry);
        model.beginStep(context);
        List<Batch> microBatches = new ArrayList<>();
        for (int i = 0; i < own.samples(); i += config.train().microBatchSize()) {
            microBatches.add(TinyModels.slice(own, i, config.train().microBatchSize()));
        }
        double loss = model.forwardBackward(microBatches, context).stream()
                .mapToDouble(MicroBatchResult::lossSum)
                .sum();
        optimizer.reduceGradients();
        GradientNorm norm = optimizer.gradientNorm();
        norms.add(norm.value());
        model.endStep();
        optimizer.step(step, LEARNING_RATE, norm);
        return loss;
    }
}
