package io.fourfold.config;

import java.util.List;
import org.jspecify.annotations.Nullable;

/** Combinations of batches, schedule and optimizer. */
final class TrainRules {
    private TrainRules() {}

    /**
     * @param parallel null when the degrees make no mapping
     */
    static void check(
            TrainConfig train, @Nullable ParallelConfig parallel, @Nullable ModelConfig model, List<Problem> problems) {
        if (parallel != null) {
            batches(train, parallel, problems);
        }
        if (model != null && train.sequenceLength() > model.maxPositions()) {
            problems.add(Problem.error(
                    "train.sequence_length",
                    train.sequenceLength(),
                    "must not exceed model.max_positions (" + model.maxPositions() + ")",
                    "raise model.max_positions or shorten the sequences"));
        }
        schedule(train, problems);
        optimizer(train.optimizer(), problems);
    }

    private static void batches(TrainConfig train, ParallelConfig parallel, List<Problem> problems) {
        int dp = parallel.worldSize()
                / (parallel.tensorParallelSize() * parallel.contextParallelSize() * parallel.pipelineParallelSize());
        long unit = (long) dp * train.microBatchSize();
        if (train.globalBatchSize() % unit != 0) {
            long below = train.globalBatchSize() / unit * unit;
            problems.add(Problem.error(
                    "train.global_batch_size",
                    train.globalBatchSize(),
                    "must be a multiple of " + unit + " = data parallel ranks (" + dp + ") x micro_batch_size ("
                            + train.microBatchSize() + ")",
                    "use " + (below > 0 ? below + " or " : "") + (below + unit)));
        }
    }

    private static void schedule(TrainConfig train, List<Problem> problems) {
        TrainConfig.ScheduleConfig schedule = train.schedule();
        if (schedule.warmupSteps() > train.steps()) {
            problems.add(Problem.warning(
                    "train.schedule.warmup_steps",
                    schedule.warmupSteps(),
                    "is cut to train.steps (" + train.steps() + "): the whole run is warm-up",
                    "warm up for a few percent of the run, for example " + Math.max(1, train.steps() / 50)));
        } else if (schedule.kind() == TrainConfig.ScheduleConfig.Kind.WSD
                && schedule.warmupSteps() + Math.floor(schedule.decayFraction() * train.steps()) > train.steps()) {
            problems.add(Problem.warning(
                    "train.schedule.decay_fraction",
                    schedule.decayFraction(),
                    "overlaps the warm-up of " + schedule.warmupSteps() + " steps in " + train.steps()
                            + " steps; the decay is shortened",
                    "shorten warmup_steps or lower decay_fraction"));
        }
    }

    private static void optimizer(TrainConfig.OptimizerConfig optimizer, List<Problem> problems) {
        if (!(optimizer.learningRate() > 0)) {
            problems.add(Problem.error(
                    "train.optimizer.learning_rate", optimizer.learningRate(), "must be above 0", "use about 3.0e-4"));
        }
        if (optimizer.minLearningRate() > optimizer.learningRate()) {
            problems.add(Problem.error(
                    "train.optimizer.min_learning_rate",
                    optimizer.minLearningRate(),
                    "must not exceed learning_rate (" + optimizer.learningRate() + ")",
                    "use about 1% of it"));
        }
        decay(problems, "beta1", optimizer.beta1());
        decay(problems, "beta2", optimizer.beta2());
        if (!(optimizer.epsilon() > 0)) {
            problems.add(
                    Problem.error("train.optimizer.epsilon", optimizer.epsilon(), "must be above 0", "use 1.0e-8"));
        }
    }

    private static void decay(List<Problem> problems, String key, double value) {
        if (value >= 1) {
            problems.add(Problem.error(
                    "train.optimizer." + key,
                    value,
                    "must be below 1: a moment that never decays cannot be corrected",
                    key.equals("beta1") ? "use 0.9" : "use 0.95"));
        }
    }
}
