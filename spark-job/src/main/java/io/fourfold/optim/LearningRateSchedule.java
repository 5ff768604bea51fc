package io.fourfold.optim;

import io.fourfold.config.TrainConfig;

/**
 * Learning rate by step: linear warm-up, then a plateau with linear decay at the end (WSD), a half cosine, or a constant.
 * Steps count from 1. The peak is reached exactly at the last warm-up step, the minimum exactly at the last step.
 */
public final class LearningRateSchedule {
    private final TrainConfig.ScheduleConfig.Kind kind;
    private final double peak;
    private final double minimum;
    private final int steps;
    private final int warmup;
    private final int decaySteps;

    private LearningRateSchedule(TrainConfig train) {
        kind = train.schedule().kind();
        peak = train.optimizer().learningRate();
        minimum = train.optimizer().minLearningRate();
        steps = train.steps();
        warmup = Math.min(train.schedule().warmupSteps(), steps);
        long wanted = Math.round(train.schedule().decayFraction() * steps);
        decaySteps = (int) Math.min(wanted, steps - warmup);
    }

    public static LearningRateSchedule of(TrainConfig train) {
        return new LearningRateSchedule(train);
    }

    /**
     * @param step 1-based; steps after the last keep its rate
     */
    public double at(int step) {
        if (step < 1) {
            throw new IllegalArgumentException("steps count from 1, got " + step);
        }
        int n = Math.min(step, steps);
        if (n <= warmup) {
            return n == warmup ? peak : peak * n / warmup;
        }
        return switch (kind) {
            case CONSTANT -> peak;
            case WSD -> n <= steps - decaySteps ? peak : between((double) (n - steps + decaySteps) / decaySteps);
            case COSINE -> {
                double progress = (double) (n - warmup) / (steps - warmup);
                yield between((1 - Math.cos(Math.PI * progress)) / 2);
            }
        };
    }

    /** From the peak at 0 to the minimum at 1, both exact. */
    private double between(double progress) {
        return progress >= 1 ? minimum : peak + (minimum - peak) * progress;
    }
}
