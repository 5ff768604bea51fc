package io.fourfold.spark.watch;

import com.codahale.metrics.Gauge;
import com.codahale.metrics.MetricRegistry;
import io.fourfold.metrics.EvalMetrics;
import io.fourfold.metrics.RunState;
import io.fourfold.metrics.StepMetrics;
import java.util.function.Supplier;
import java.util.function.ToDoubleFunction;
import org.jspecify.annotations.Nullable;

/** The run's newest numbers for Spark's metric sinks; NaN where there is none yet. */
final class RunGauges {
    private RunGauges() {}

    static void register(MetricRegistry registry, Supplier<@Nullable RunState> run) {
        step(registry, run, "step", StepMetrics::step);
        step(registry, run, "tokens", StepMetrics::tokens);
        step(registry, run, "loss", StepMetrics::loss);
        step(registry, run, "grad_norm", StepMetrics::gradNorm);
        step(registry, run, "learning_rate", StepMetrics::learningRate);
        step(registry, run, "step_seconds", StepMetrics::stepSeconds);
        step(registry, run, "tokens_per_second", StepMetrics::tokensPerSecond);
        step(registry, run, "flops_per_second", StepMetrics::flopsPerSecond);
        step(registry, run, "mfu", StepMetrics::mfu);
        step(registry, run, "dropped", StepMetrics::dropped);
        gauge(registry, run, "total_steps", RunState::totalSteps);
        gauge(registry, run, "restarts", RunState::restarts);
        gauge(registry, run, "ranks", state -> state.beats().size());
        gauge(registry, run, "eval_loss", state -> {
            EvalMetrics newest = state.latestEvaluation();
            return newest == null ? Double.NaN : newest.loss();
        });
    }

    private static void step(
            MetricRegistry registry,
            Supplier<@Nullable RunState> run,
            String name,
            ToDoubleFunction<StepMetrics> value) {
        gauge(registry, run, name, state -> {
            StepMetrics newest = state.latest();
            return newest == null ? Double.NaN : value.applyAsDouble(newest);
        });
    }

    private static void gauge(
            MetricRegistry registry, Supplier<@Nullable RunState> run, String name, ToDoubleFunction<RunState> value) {
        registry.register(name, (Gauge<Double>) () -> {
            RunState state = run.get();
            return state == null ? Double.NaN : value.applyAsDouble(state);
        });
    }
}
