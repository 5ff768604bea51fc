package io.fourfold.bench;

import io.fourfold.config.FourfoldConfig;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.IntFunction;

/**
 * Whole training steps on several devices of this machine, beside one rank measured just before: every rank holds as many
 * tokens as the one does, so perfect scaling would keep the time of a step.
 */
public final class RankBenchmark {
    private static final Duration LIMIT = Duration.ofMinutes(10);

    /**
     * A mapping against one rank.
     *
     * @param mapping in the form of {@link MappingText}
     * @param milliseconds of a step, the median of the slowest rank
     * @param tokensPerSecond of all ranks
     * @param efficiency tokens per second over ranks times those of one rank
     * @param collectives milliseconds in which collectives ran in a traced step of rank 0, beside other work or not
     * @param exposed milliseconds in which nothing but collectives could run; both 0 without a trace
     * @param one the single rank's step
     * @param ranks each rank's step
     */
    public record Result(
            String mapping,
            double milliseconds,
            double tokensPerSecond,
            double efficiency,
            double collectives,
            double exposed,
            StepResult one,
            List<StepResult> ranks) {
        public Result {
            ranks = List.copyOf(ranks);
        }
    }

    private final IntFunction<BenchDevice> devices;
    private final Map<String, StepResult> ones = new HashMap<>();

    /**
     * @param devices opens the device of a rank
     */
    public RankBenchmark(IntFunction<BenchDevice> devices) {
        this.devices = devices;
    }

    /**
     * The configuration of the ranks, loaded before any of them starts, as the single rank's is.
     *
     * @param cuda whether GPUs will be measured
     * @throws io.fourfold.config.ConfigException when a setting or the mapping cannot be used
     * @throws IllegalArgumentException when a word of the mapping is none, or data parallelism is not what is left
     */
    public static FourfoldConfig config(
            int size, String mapping, List<String> settings, StepBenchmark.Job job, boolean cuda) {
        BenchShape shape = job.shape();
        FourfoldConfig config = shape.config(job.recipe(), job.microBatches(), cuda, all(size, mapping, settings));
        MappingText.checkDataParallel(mapping, config.parallel());
        shape.config(job.recipe(), job.microBatches(), cuda, alone(settings));
        return config;
    }

    private static List<String> all(int size, String mapping, List<String> settings) {
        List<String> all = new ArrayList<>(List.of("parallel.world_size=" + size));
        all.addAll(MappingText.settings(mapping));
        all.addAll(settings);
        return all;
    }

    private static List<String> alone(List<String> settings) {
        return settings.stream().filter(s -> !s.startsWith("parallel.")).toList();
    }

    /**
     * Measures a mapping, and one rank unless it was measured before with the same job and settings.
     *
     * @param settings further {@code key=value} settings of the ranks; those not of {@code parallel} are the single rank's, too
     */
    public Result run(int size, String mapping, List<String> settings, StepBenchmark.Job job)
            throws InterruptedException {
        List<String> alone = alone(settings);
        String key = job + " " + alone;
        StepResult one = ones.get(key);
        if (one == null) {
            one = ranks(1, alone, job).get(0);
            ones.put(key, one);
        }
        List<StepResult> ranks = ranks(size, all(size, mapping, settings), job);
        double slowest =
                ranks.stream().mapToDouble(StepResult::milliseconds).max().orElse(Double.NaN);
        double perSecond = ranks.get(0).tokens() / slowest * 1e3;
        List<BenchDevice.TracedWork> work = ranks.get(0).work();
        double exposed = sum(work, "wait for ") + collectives(work) - besides(work);
        return new Result(
                mapping,
                slowest,
                perSecond,
                perSecond / size / one.tokensPerSecond(),
                collectives(work),
                exposed,
                one,
                ranks);
    }

    private List<StepResult> ranks(int size, List<String> settings, StepBenchmark.Job job) throws InterruptedException {
        try (BenchRanks ranks = BenchRanks.open(size, devices)) {
            return ranks.run(LIMIT, rank -> StepBenchmark.run(rank.device(), rank.world(), job, settings));
        }
    }

    private static double sum(List<BenchDevice.TracedWork> work, String prefix) {
        return work.stream()
                .filter(w -> w.name().startsWith(prefix))
                .mapToDouble(BenchDevice.TracedWork::milliseconds)
                .sum();
    }

    private static double collectives(List<BenchDevice.TracedWork> work) {
        return sum(work, "nccl ") + sum(work, "copies ");
    }

    private static double besides(List<BenchDevice.TracedWork> work) {
        return sum(work, "nccl beside ") + sum(work, "copies beside ");
    }

    public static String header() {
        return String.format(
                "%-3s %-6s %5s %-24s %9s %12s %10s %8s %11s %8s  %s",
                "",
                "recipe",
                "ranks",
                "mapping",
                "ms",
                "tokens/s",
                "efficiency",
                "fullest",
                "collectives",
                "exposed",
                "loss");
    }

    /** One line of the table. */
    public static String line(Result r) {
        StepResult first = r.ranks().get(0);
        return String.format(
                Locale.ROOT,
                "%-3s %-6s %5d %-24s %9.2f %12.0f %10.3f %8.3f %11.2f %8.2f  %7.4f -> %7.4f",
                first.shape(),
                first.recipe(),
                r.ranks().size(),
                r.mapping().isBlank() ? "DP" + r.ranks().size() : r.mapping(),
                r.milliseconds(),
                r.tokensPerSecond(),
                r.efficiency(),
                first.fullestRank(),
                r.collectives(),
                r.exposed(),
                first.firstLoss(),
                first.lastLoss());
    }
}
