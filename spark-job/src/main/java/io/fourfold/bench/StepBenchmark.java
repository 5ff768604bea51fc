package io.fourfold.bench;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.RecipeConfig;
import io.fourfold.data.Batch;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.CommunicationWorld;
import io.fourfold.kernels.comm.InProcessWorld;
import io.fourfold.model.MicroBatchResult;
import io.fourfold.model.MoeTransformer;
import io.fourfold.model.StepContext;
import io.fourfold.optim.GradientNorm;
import io.fourfold.optim.ShardedAdamW;
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
     * @param settings {@code KEY=VALUE} over those of the shape
     */
    public record Job(
            BenchShape shape,
            RecipeConfig.Kind recipe,
            int microBatches,
            int warmUps,
            int steps,
            boolean trace,
            List<String> settings) {
        public Job {
            settings = List.copyOf(settings);
        }
    }

    private final BenchDevice device;
    private final Job job;
    private final FourfoldConfig config;
    private final List<Batch> batches = new ArrayList<>();
    private final List<Double> hostTimes = new ArrayList<>();
    private int step;
    private double loss;

    private StepBenchmark(BenchDevice device, Job job) {
        this.device = device;
        this.job = job;
        config = job.shape().config(job.recipe(), job.microBatches(), device.cuda(), job.settings());
        for (int i = 0; i < BATCHES; i++) {
            batches.add(batch(config, 1234 + i));
        }
    }

    /** Builds the model on the device, measures, and releases it. */
    public static StepResult run(BenchDevice device, Job job) {
        return new StepBenchmark(device, job).run();
    }

    private StepResult run() {
        Backend backend = device.backend();
        ParallelMapping mapping = ParallelMapping.of(config.parallel());
        try (CommunicationWorld world =
                        backend.communicating(InProcessWorld.create(1).get(0));
                ProcessGroups groups = ProcessGroups.create(mapping, world);
                MoeTransformer model = MoeTransformer.create(config, backend, groups);
                ShardedAdamW optimizer = new ShardedAdamW(
                        backend, model.parameters(), config.train().optimizer(), groups)) {
            RandomParameters.fill(backend, model.parameters(), INIT_DEVIATION, 7);
            model.parametersChanged();
            Runnable work = () -> step(model, optimizer);
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

    private void step(MoeTransformer model, ShardedAdamW optimizer) {
        step++;
        Backend backend = device.backend();
        Batch shape = batches.get(0);
        double labels = (double) shape.labelCount() * job.microBatches();
        StepContext context = new StepContext(step, 1, 1 / labels, shape.samples() * job.microBatches(), null);
        long start = System.nanoTime();
        model.beginStep(context);
        List<MicroBatchResult> results = new ArrayList<>();
        for (int i = 0; i < job.microBatches(); i++) {
            int index = ((step - 1) * job.microBatches() + i) % BATCHES;
            results.add(model.forwardBackward(batches.get(index), context));
        }
        hostTimes.add((System.nanoTime() - start) * 1e-6);
        loss = results.stream().mapToDouble(MicroBatchResult::lossSum).sum() / labels;
        optimizer.reduceGradients();
        GradientNorm norm = optimizer.gradientNorm();
        if (!norm.isFinite() || !Double.isFinite(loss)) {
            throw new IllegalStateException(String.format(
                    "%s %s: loss %s, gradient norm %s at step %d on %s; a kernel is wrong",
                    job.shape(), job.recipe(), loss, norm.value(), step, backend.description()));
        }
        var unused = model.endStep();
        optimizer.step(step, LEARNING_RATE, norm);
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
        long tokens = (long) batches.get(0).tokenCount() * job.microBatches();
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
