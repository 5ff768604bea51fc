package io.fourfold.train;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.RecipeConfig;
import io.fourfold.data.Batch;
import io.fourfold.eval.Evaluator;
import io.fourfold.kernels.op.QuantStats;
import io.fourfold.metrics.EvalMetrics;
import io.fourfold.metrics.EventKind;
import io.fourfold.metrics.StepMetrics;
import io.fourfold.metrics.StepMetrics.LayerLoad;
import io.fourfold.model.MicroBatchResult;
import io.fourfold.model.QuantizationTelemetry;
import io.fourfold.model.StepContext;
import io.fourfold.optim.GradientNorm;
import io.fourfold.optim.LearningRateSchedule;
import io.fourfold.optim.ShardedAdamW;
import io.fourfold.parallel.Axis;
import io.fourfold.parallel.FixedOrderSums;
import io.fourfold.parallel.ProcessGroups;
import java.io.IOException;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/** The steps of one rank from where it starts to the end of the run. */
final class TrainingLoop {
    private final TrainerInputs inputs;
    private final FourfoldConfig config;
    private final ProcessGroups groups;
    private final TrainableModel model;
    private final ShardedAdamW optimizer;
    private final WorldAgreement agreement;
    private final Saver saver;
    private final GlobalBatch globalBatch;
    private final LearningRateSchedule schedule;
    private final NonFinite nonFinite;
    private final StopRequest stop;
    private final @Nullable Evaluator validation;
    /** FLOP/s of all devices together, NaN when unknown. */
    private final double peakFlops;

    private Progress progress = Progress.START;
    private double lastLoss = Double.NaN;
    private double lastValidation = Double.NaN;
    private int lastValidationStep = -1;

    TrainingLoop(
            TrainerInputs inputs,
            ProcessGroups groups,
            TrainableModel model,
            ShardedAdamW optimizer,
            WorldAgreement agreement,
            Saver saver) {
        this.inputs = inputs;
        this.config = inputs.config();
        this.groups = groups;
        this.model = model;
        this.optimizer = optimizer;
        this.agreement = agreement;
        this.saver = saver;
        globalBatch = new GlobalBatch(inputs.train(), config.train(), groups.mapping(), groups.rank());
        schedule = LearningRateSchedule.of(config.train());
        nonFinite = new NonFinite(model, agreement, inputs.sink());
        stop = new StopRequest(inputs.run(), groups.rank() == 0);
        validation = inputs.validation() == null
                ? null
                : new Evaluator(
                        model::evaluate,
                        inputs.validation(),
                        config.train().microBatchSize(),
                        inputs.backend(),
                        groups.get(Axis.DP));
        peakFlops = groups.mapping().worldSize()
                * DevicePeak.flops(config.run(), inputs.backend().description());
    }

    /**
     * @param notices events from before the sink was started
     */
    TrainResult run(Progress start, List<Notice> notices) {
        long begun = System.nanoTime();
        int total = config.train().steps();
        inputs.sink().start(RunFacts.of(inputs, model, groups.mapping(), agreement), start.step() + 1, total);
        notices.forEach(notice -> inputs.sink().event(notice.step(), notice.kind(), notice.message()));
        progress = start;
        try {
            return train(start, total, begun);
        } catch (RuntimeException | Error e) {
            inputs.sink().event(progress.step(), EventKind.FAILED, String.valueOf(e.getMessage()));
            throw e;
        }
    }

    private TrainResult train(Progress start, int total, long begun) {
        boolean stopped = false;
        while (progress.step() < total && !stopped) {
            requireNotInterrupted();
            announceSwitch(progress.step() + 1);
            stopped = step(progress);
            progress = progress.plus(globalBatch);
            if (due(config.train().evalEvery(), progress.step())) {
                validate(progress.step());
            }
            if (due(config.run().checkpoint().every(), progress.step())) {
                inputs.sink().phase(progress.step(), "checkpoint");
                saver.save(progress);
            }
        }
        boolean asked = stopped;
        stopped = asked && progress.step() < total;
        if (!stopped) {
            validate(progress.step());
        }
        inputs.sink().phase(progress.step(), "checkpoint");
        saver.finish(progress);
        inputs.sink().phase(progress.step(), "done");
        if (stopped) {
            String message = "stopped on request after step " + progress.step() + "; the same command continues";
            inputs.sink().event(progress.step(), "stop", message);
        } else {
            inputs.sink().event(progress.step(), EventKind.FINISHED, "all " + total + " steps are done");
        }
        if (asked) {
            removeRequest();
        }
        return new TrainResult(
                inputs.run().location(),
                start.step(),
                progress.step(),
                progress.samples(),
                progress.tokens(),
                lastLoss,
                lastValidation,
                saver.newest(),
                saver.newestStep(),
                stopped,
                (System.nanoTime() - begun) * 1e-9);
    }

    /** One optimizer step; true when some rank asks to stop. */
    private boolean step(Progress before) {
        PhaseClock clock = new PhaseClock();
        Map<String, Long> bytesBefore = groups.bytesSent();
        int step = before.step() + 1;
        inputs.sink().phase(step, "data");
        List<Batch> batches = globalBatch.read(before.samples());
        double labels = countLabels(batches, step);
        clock.end("data");
        inputs.sink().phase(step, "forward_backward");
        QuantizationTelemetry telemetry = due(config.recipe().telemetryEvery(), step)
                        || (step == 1 && config.recipe().telemetryEvery() > 0)
                ? new QuantizationTelemetry()
                : null;
        StepContext context =
                new StepContext(step, config.train().seed(), 1 / labels, globalBatch.samples(), telemetry);
        StepTotals totals = accumulate(batches, context);
        clock.end("forward_backward");
        inputs.sink().phase(step, "gradients");
        saver.observe(totals.save());
        if (!totals.isFinite()) {
            saver.settle();
            optimizer.reduceGradients(); // what is under way must not meet the search
            throw nonFinite.locate("loss is " + totals.lossSum() / labels, null, batches, context, saver.newest());
        }
        optimizer.reduceGradients();
        GradientNorm norm = optimizer.gradientNorm();
        clock.end("gradients");
        inputs.sink().phase(step, "optimizer");
        if (!norm.isFinite()) {
            String hint = norm.nonFinite() == null ? null : "gradient of " + norm.nonFinite() + " is not finite";
            saver.settle();
            throw nonFinite.locate("gradient norm is " + norm.value(), hint, batches, context, saver.newest());
        }
        double learningRate = schedule.at(step);
        // Reads a few counts; before the update, so that the host can queue the next step while the device updates.
        List<LayerLoad> load = model.endStep();
        optimizer.step(step, learningRate, norm);
        clock.end("optimizer");
        Map<String, QuantStats> quantization =
                telemetry == null ? Map.of() : TelemetryExchange.reduce(agreement, telemetry.statistics());
        lastLoss = totals.lossSum() / labels;
        inputs.sink()
                .step(metrics(
                        before.plus(globalBatch),
                        totals,
                        norm,
                        learningRate,
                        clock,
                        bytesSince(bytesBefore),
                        load,
                        quantization));
        return totals.stopVotes() > 0;
    }

    private StepTotals accumulate(List<Batch> batches, StepContext context) {
        model.beginStep(context);
        List<MicroBatchResult> results = model.forwardBackward(batches, context);
        return StepTotals.of(results, stop.seen(), saver.votes()).reduce(inputs.backend(), groups.world());
    }

    /** Labels that count in the whole global batch: the loss is a mean over these, however they spread over ranks. */
    private double countLabels(List<Batch> batches, int step) {
        long mine = batches.stream().mapToLong(Batch::labelCount).sum();
        double labels = FixedOrderSums.sum(inputs.backend(), groups.get(Axis.DP), (double) mine)[0];
        if (labels == 0) {
            throw new TrainingException(
                    TrainingException.Code.TRAIN_SETUP,
                    "no label counts in the global batch of step " + step
                            + ": every position is masked. Look at the data set with 'fourfold inspect', or set"
                            + " data.mask_document_start to false");
        }
        return labels;
    }

    private Map<String, Long> bytesSince(Map<String, Long> before) {
        Map<String, Long> since = new TreeMap<>(groups.bytesSent());
        since.replaceAll((axis, bytes) -> bytes - before.getOrDefault(axis, 0L));
        since.values().removeIf(bytes -> bytes == 0);
        return since;
    }

    private StepMetrics metrics(
            Progress after,
            StepTotals totals,
            GradientNorm norm,
            double learningRate,
            PhaseClock clock,
            Map<String, Long> bytesSent,
            List<LayerLoad> load,
            Map<String, QuantStats> quantization) {
        double tokensPerSecond = globalBatch.tokens() / clock.total();
        return new StepMetrics(
                after.step(),
                after.tokens(),
                after.samples(),
                lastLoss,
                totals.auxLoss(),
                totals.zLoss(),
                norm.value(),
                learningRate,
                clock.total(),
                tokensPerSecond,
                tokensPerSecond * inputs.flopsPerToken(),
                tokensPerSecond * inputs.flopsPerToken() / peakFlops,
                clock.seconds(),
                bytesSent,
                load,
                totals.dropRate(),
                quantization);
    }

    private void validate(int step) {
        if (validation == null || lastValidationStep == step) {
            return;
        }
        inputs.sink().phase(step, "evaluation");
        EvalMetrics metrics = validation.run(step, config.train().evalSamples());
        lastValidation = metrics.loss();
        lastValidationStep = step;
        inputs.sink().evaluation(metrics);
    }

    /** A cancelled Spark job interrupts its tasks; collectives notice, a single rank has none. */
    private void requireNotInterrupted() {
        if (Thread.currentThread().isInterrupted()) {
            throw new TrainingException(
                    TrainingException.Code.TRAIN_LAUNCH,
                    "rank " + groups.rank() + " was cancelled after step " + progress.step()
                            + ". Run the same command to continue from the last checkpoint.");
        }
    }

    private void announceSwitch(int step) {
        RecipeConfig.LateSwitch late = config.recipe().lateSwitch();
        if (late.step() == step) {
            inputs.sink()
                    .event(
                            step,
                            EventKind.PRECISION_SWITCH,
                            "from this step the " + late.direction() + " GEMMs run in BF16");
        }
    }

    private void removeRequest() {
        try {
            stop.honoured();
        } catch (IOException e) {
            String message = "remove the file " + StopRequest.FILE + " before continuing: " + e;
            inputs.sink().event(progress.step(), EventKind.WARNING, message);
        }
    }

    private static boolean due(int every, int step) {
        return every > 0 && step % every == 0;
    }
}
