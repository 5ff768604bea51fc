package io.fourfold.metrics;

import java.time.Clock;
import java.time.Instant;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Predicate;
import java.util.function.UnaryOperator;
import org.jspecify.annotations.Nullable;

/**
 * What is known of a run while it goes on, in bounded memory: of a long run the steps are thinned evenly, and only some
 * keep their expert loads and quantization statistics. The first and the newest step are always there. Thread-safe.
 */
public final class RunState implements MetricsSink {
    private static final int MOST_STEPS = 4000;
    private static final int MOST_DETAILED = 200;
    private static final int MOST_EVENTS = 500;
    private static final int MOST_EVALUATIONS = 2000;

    private final Clock clock;
    private final List<StepMetrics> steps = new ArrayList<>();
    private final List<EvalMetrics> evaluations = new ArrayList<>();
    private final Deque<RunEvent> events = new ArrayDeque<>();
    private final List<RunStart> starts = new ArrayList<>();
    private final Map<Integer, RankBeat> ranks = new TreeMap<>();
    private Map<String, String> facts = Map.of();
    private int totalSteps;
    private int superseded;
    private int damaged;
    private @Nullable Instant started;
    private @Nullable Instant updated;

    public RunState() {
        this(Clock.systemUTC());
    }

    RunState(Clock clock) {
        this.clock = clock;
    }

    /** Begins with what an earlier driver left behind. */
    public synchronized void seed(RunHistory past) {
        facts = past.facts();
        totalSteps = past.totalSteps();
        past.steps().forEach(this::add);
        past.evaluations().forEach(this::add);
        past.events().forEach(this::add);
        starts.addAll(past.starts());
        superseded = past.supersededLines();
        damaged = past.damagedLines();
        started = past.started();
        updated = past.updated();
    }

    @Override
    public synchronized void start(Map<String, String> newFacts, int firstStep, int total) {
        facts = new LinkedHashMap<>(newFacts);
        totalSteps = total;
        int before = steps.size() + evaluations.size();
        steps.removeIf(step -> step.step() >= firstStep);
        evaluations.removeIf(evaluation -> evaluation.step() >= firstStep);
        superseded += before - steps.size() - evaluations.size();
        starts.add(new RunStart(starts.size() + 1, touch(), firstStep));
        ranks.clear();
    }

    @Override
    public synchronized void step(StepMetrics metrics) {
        touch();
        add(metrics);
    }

    private void add(StepMetrics metrics) {
        steps.add(metrics);
        if (steps.size() > MOST_STEPS) {
            halve(steps);
        }
        strip(step -> !step.expertLoad().isEmpty(), StepMetrics::withoutLoad);
        strip(step -> !step.quantization().isEmpty(), StepMetrics::withoutQuantization);
    }

    /** Drops every second entry but the first and the newest. */
    private static <T> void halve(List<T> list) {
        List<T> kept = new ArrayList<>();
        for (int i = 0; i < list.size(); i++) {
            if (i % 2 == 0 || i == list.size() - 1) {
                kept.add(list.get(i));
            }
        }
        list.clear();
        list.addAll(kept);
    }

    private void strip(Predicate<StepMetrics> detailed, UnaryOperator<StepMetrics> stripped) {
        List<Integer> places = new ArrayList<>();
        for (int i = 0; i < steps.size(); i++) {
            if (detailed.test(steps.get(i))) {
                places.add(i);
            }
        }
        if (places.size() <= MOST_DETAILED) {
            return;
        }
        for (int i = 1; i < places.size() - 1; i += 2) {
            int place = places.get(i);
            steps.set(place, stripped.apply(steps.get(place)));
        }
    }

    @Override
    public synchronized void evaluation(EvalMetrics metrics) {
        touch();
        add(metrics);
    }

    private void add(EvalMetrics metrics) {
        evaluations.add(metrics);
        if (evaluations.size() > MOST_EVALUATIONS) {
            halve(evaluations);
        }
    }

    @Override
    public synchronized void event(int step, String kind, String message) {
        add(new RunEvent(step, kind, message, touch(), Math.max(1, starts.size())));
    }

    private void add(RunEvent event) {
        events.add(event);
        if (events.size() > MOST_EVENTS) {
            events.removeFirst();
        }
    }

    /** A rank was heard of. */
    public synchronized void beat(RankBeat beat) {
        ranks.put(beat.rank(), beat);
    }

    /** Where the ranks were last, by rank. */
    public synchronized List<RankBeat> beats() {
        return List.copyOf(ranks.values());
    }

    /** The newest step, or null. */
    public synchronized @Nullable StepMetrics latest() {
        return steps.isEmpty() ? null : steps.get(steps.size() - 1);
    }

    /** The newest validation, or null. */
    public synchronized @Nullable EvalMetrics latestEvaluation() {
        return evaluations.isEmpty() ? null : evaluations.get(evaluations.size() - 1);
    }

    /** Starts of the run after its first one. */
    public synchronized int restarts() {
        return Math.max(0, starts.size() - 1);
    }

    public synchronized int totalSteps() {
        return totalSteps;
    }

    /** Everything at this moment. */
    public synchronized RunHistory snapshot() {
        return new RunHistory(
                facts,
                totalSteps,
                List.copyOf(steps),
                List.copyOf(evaluations),
                List.copyOf(events),
                List.copyOf(starts),
                List.copyOf(ranks.values()),
                superseded,
                damaged,
                started,
                updated);
    }

    private Instant touch() {
        Instant now = clock.instant();
        if (started == null) {
            started = now;
        }
        updated = now;
        return now;
    }

    /** The state outlives its attempts. */
    @Override
    public void close() {}
}
