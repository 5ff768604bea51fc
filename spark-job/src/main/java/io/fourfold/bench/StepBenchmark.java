package io.fourfold.bench;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.RecipeConfig;
import io.fourfold.data.Batch;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.CommunicationWorld;
import io.fourfold.kernels.comm.InProcessWorld;
import io.fourfold.metrics.StepMetrics.LayerLoad;
import io.fourfold.model.MicroBatchResult;
import io.fourfold.model.MoeTransformer;
import io.fourfold.model.StepContext;
import io.fourfold.optim.GradientNorm;
import io.fourfold.optim.ShardedAdamW;
import io.fourfold.parallel.Axis;
import io.fourfold.parallel.FixedOrderSums;
import io.fourfold.parallel.ParallelMapping;
import io.fourfold.parallel.ProcessGroups;
import io.fourfold.plan.FlopCount;
import io.fourfold.plan.Plan;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Random;

/**
 * Whole training steps as the trainer runs them - prepare weights, forward and backward of each micro-batch, read the
 * losses, reduce, clip, AdamW, expert loads - over random tokens on one rank. A few batches repeat, so the loss must fall.
 */
public final class StepBenchmark {
    private static final int BATCHES = 4;
    private static final double PEAK_BF16_TERAFLOPS = 989;
    private static final double INIT_DEVIATION = 0.02;
    private static final float LEARNING_RATE = 3e-4f;

    /**
     * What to measure.
     *
     * @param microBatches accumulated in a step
     * @param warmUps steps before the measured ones
     * @param steps measured
     * @param trace whether to run one more step under the trace
     */
    public record Job(
            BenchShape shape, RecipeConfig.Kind recipe, int microBatches, int warmUps, int steps, boolean trace) {}

    private final BenchDevice device;
    private final CommunicationWorld world;
    private final Job job;
    private final FourfoldConfig config;
    private final ParallelMapping mapping;
    private final List<Batch> batches = new ArrayList<>();
    private final List<Double> hostTimes = new ArrayList<>();
    private int step;
    private double loss;
    private List<LayerLoad> load = List.of();

    private StepBenchmark(BenchDevice device, CommunicationWorld world, Job job, List<String> settings) {
        this.device = device;
        this.world = world;
        this.job = job;
        config = job.shape().config(job.recipe(), job.microBatches(), device.cuda(), settings);
        mapping = ParallelMapping.of(config.parallel());
        long seed = 1234 + 1000L * mapping.coordinate(Axis.DP, world.rank());
        for (int i = 0; i < BATCHES; i++) {
            batches.add(batch(config, seed + i));
        }
    }

    /** Builds the model on the device, measures, and releases it. */
    public static StepResult run(BenchDevice device, Job job) {
        return run(device, job, List.of());
    }

    /**
     * The same with other settings.
     *
     * @param settings {@code key=value}
     */
    public static StepResult run(BenchDevice device, Job job, List<String> settings) {
        try (CommunicationWorld world =
                device.backend().communicating(InProcessWorld.create(1).get(0))) {
            return new StepBenchmark(device, world, job, settings).run();
        }
    }

    /**
     * The same on one of several ranks; collective.
     *
     * @param world of the device's tensors
     * @param settings {@code key=value}, the mapping among them
     * @return the whole step's tokens, in this rank's time
     */
    static StepResult run(BenchDevice device, CommunicationWorld world, Job job, List<String> settings) {
        return new StepBenchmark(device, world, job, settings).run();
    }

    private StepResult run() {
        Backend backend = device.backend();
        try (ProcessGroups groups = ProcessGroups.create(mapping, world);
                MoeTransformer model = MoeTransformer.create(config, backend, groups);
                ShardedAdamW optimizer = new ShardedAdamW(
                        backend,
                        model.parameters(),
                        config.train().optimizer(),
                        config.parallel().gradients(),
                        groups)) {
            model.listen(optimizer.listener());
            RandomParameters.fill(backend, model.parameters(), INIT_DEVIATION, 7);
            model.parametersChanged();
            Runnable work = () -> step(model, optimizer, groups);
            work.run();
            double firstLoss = loss;
            for (int i = 1; i < job.warmUps(); i++) {
                work.run();
            }
            long reserved = reserved();
            hostTimes.clear();
            double[] times = device.milliseconds(job.steps(), work);
            boolean steady = reserved() == reserved;
            double host =
                    median(hostTimes.stream().mapToDouble(Double::doubleValue).toArray());
            double lastLoss = loss;
            List<BenchDevice.Memory> memory = device.memory();
            BenchDevice.Traced traced =
                    job.trace() ? device.trace(work) : new BenchDevice.Traced(List.of(), Double.NaN);
            return result(times, firstLoss, lastLoss, host, memory, steady, traced);
        }
    }

    private void step(MoeTransformer model, ShardedAdamW optimizer, ProcessGroups groups) {
        step++;
        Backend backend = device.backend();
        int count = microBatches();
        double labels = (double) batches.get(0).labelCount() * count * mapping.data();
        StepContext context =
                new StepContext(step, 1, 1 / labels, config.train().globalBatchSize(), null);
        long start = System.nanoTime();
        model.beginStep(context);
        List<Batch> inStep = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            inStep.add(batches.get(((step - 1) * count + i) % BATCHES));
        }
        List<MicroBatchResult> results = model.forwardBackward(inStep, context);
        hostTimes.add((System.nanoTime() - start) * 1e-6);
        double sum = results.stream().mapToDouble(MicroBatchResult::lossSum).sum();
        loss = FixedOrderSums.sum(backend, groups.world(), sum)[0] / labels;
        optimizer.reduceGradients();
        GradientNorm norm = optimizer.gradientNorm();
        if (!norm.isFinite() || !Double.isFinite(loss)) {
            throw new IllegalStateException(String.format(
                    "%s %s: loss %s, gradient norm %s at step %d on %s; a kernel is wrong",
                    job.shape(), job.recipe(), loss, norm.value(), step, backend.description()));
        }
        load = model.endStep();
        optimizer.step(step, LEARNING_RATE, norm);
    }

    /** Of one rank in a step. */
    private int microBatches() {
        return config.train().globalBatchSize() / config.train().microBatchSize() / mapping.data();
    }

    private StepResult result(
            double[] times,
            double firstLoss,
            double lastLoss,
            double host,
            List<BenchDevice.Memory> memory,
            boolean steady,
            BenchDevice.Traced traced) {
        double median = median(times);
        long tokens = (long) config.train().globalBatchSize() * config.train().sequenceLength();
        double perSecond = tokens / median * 1e3;
        double teraflops = perSecond
                * FlopCount.of(config.model(), config.train().sequenceLength()).causal()
                * 1e-12;
        return new StepResult(
                job.shape().name(),
                job.shape().model(),
                job.recipe().name().toLowerCase(Locale.ROOT),
                job.microBatches(),
                tokens,
                median,
                Arrays.stream(times).min().orElse(Double.NaN),
                Arrays.stream(times).max().orElse(Double.NaN),
                perSecond,
                teraflops,
                device.cuda() ? teraflops / PEAK_BF16_TERAFLOPS : Double.NaN,
                firstLoss,
                lastLoss,
                RankLoad.fullest(load, config.parallel().expertParallelSize()),
                host,
                traced.idleShare(),
                memory.stream().mapToLong(BenchDevice.Memory::peak).sum(),
                Plan.of(config).memory().total(),
                steady,
                memory,
                traced.work(),
                device.description());
    }

    private long reserved() {
        return device.memory().stream().mapToLong(BenchDevice.Memory::reserved).sum();
    }

    private static double median(double[] values) {
        double[] sorted = values.clone();
        Arrays.sort(sorted);
        int n = sorted.length;
        return n == 0 ? Double.NaN : n % 2 == 1 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
    }

    /** Random tokens, each sample one document; labels are the next tokens. */
    private static Batch batch(FourfoldConfig config, long seed) {
        int samples = config.train().microBatchSize();
        int length = config.train().sequenceLength();
        int count = samples * length;
        Random random = new Random(seed);
        int[] stream =
                random.ints(count + samples, 0, config.model().vocabSize()).toArray();
        int[] tokens = new int[count];
        int[] labels = new int[count];
        int[] positions = new int[count];
        int[] rowIds = new int[count];
        for (int i = 0; i < count; i++) {
            int at = i + i / length;
            tokens[i] = stream[at];
            labels[i] = stream[at + 1];
            positions[i] = i % length;
            rowIds[i] = i;
        }
        return new Batch(samples, length, tokens, labels, new int[count], positions, rowIds);
    }
}
