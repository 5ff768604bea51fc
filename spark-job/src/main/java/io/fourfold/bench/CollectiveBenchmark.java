package io.fourfold.bench;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.comm.ReduceOp;
import io.fourfold.kernels.cuda.CudaBackend;
import io.fourfold.kernels.cuda.NcclBaseline;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.function.IntFunction;
import java.util.stream.IntStream;

/** Our collectives beside NCCL's own calls on the same buffers, in turns; the time is that of the slowest rank. */
public final class CollectiveBenchmark {
    private static final Duration LIMIT = Duration.ofMinutes(5);
    private static final long[] MEBIBYTES = {1, 16, 128, 512};
    private static final int ROUNDS = 3;

    /**
     * @param bytes of the larger buffer of a rank
     * @param sent bytes a rank sends to others
     * @param milliseconds ours, median
     * @param raw NCCL's
     */
    public record Result(String operation, long bytes, long sent, double milliseconds, double raw) {
        /** Bytes a rank sends in a second, in GB. */
        public double rate() {
            return sent / milliseconds * 1e-6;
        }

        /** NCCL's time over ours. */
        public double ratio() {
            return raw / milliseconds;
        }
    }

    private final int size;
    private final int warmUps;
    private final int runs;

    private CollectiveBenchmark(int size, int warmUps, int runs) {
        this.size = size;
        this.warmUps = warmUps;
        this.runs = runs;
    }

    public static List<Result> run(int size, int warmUps, int runs, IntFunction<BenchDevice> devices)
            throws InterruptedException {
        CollectiveBenchmark benchmark = new CollectiveBenchmark(size, warmUps, runs);
        List<List<Result>> byRank;
        try (BenchRanks ranks = BenchRanks.open(size, devices)) {
            byRank = ranks.run(LIMIT, benchmark::measure);
        }
        List<Result> results = new ArrayList<>();
        for (int i = 0; i < byRank.get(0).size(); i++) {
            int index = i;
            Result first = byRank.get(0).get(i);
            results.add(new Result(
                    first.operation(),
                    first.bytes(),
                    first.sent(),
                    byRank.stream()
                            .mapToDouble(r -> r.get(index).milliseconds())
                            .max()
                            .orElse(Double.NaN),
                    byRank.stream().mapToDouble(r -> r.get(index).raw()).max().orElse(Double.NaN)));
        }
        return results;
    }

    private List<Result> measure(BenchRanks.Rank rank) {
        if (!(rank.device().backend() instanceof CudaBackend backend)) {
            throw new IllegalArgumentException("collectives are compared with NCCL, which needs GPUs");
        }
        List<Result> results = new ArrayList<>();
        Communicator group =
                rank.world().group("all", IntStream.range(0, size).boxed().toList());
        try (NcclBaseline raw = new NcclBaseline(backend, rank.host())) {
            for (long mebibytes : MEBIBYTES) {
                for (DType type : new DType[] {DType.FP32, DType.BF16}) {
                    try (TensorScope scope = backend.scope(Region.WORKSPACE)) {
                        measure(rank, group, raw, type, mebibytes << 20, scope, results);
                    }
                }
            }
        }
        return results;
    }

    private void measure(
            BenchRanks.Rank rank,
            Communicator group,
            NcclBaseline raw,
            DType type,
            long bytes,
            TensorScope scope,
            List<Result> results) {
        Backend backend = rank.device().backend();
        int part = Math.toIntExact(bytes / type.bytes() / size);
        Tensor large = scope.zeros(type, part * size);
        Tensor other = scope.zeros(type, part * size);
        Tensor small = scope.zeros(type, part);
        long[] counts = new long[size];
        Arrays.fill(counts, part);
        Timing timing = new Timing(rank, group, type, bytes, results);
        timing.add(
                "all-to-all-v", () -> group.allToAllV(large, counts, other, counts), () -> raw.allToAll(large, other));
        timing.add(
                "all-to-all-v, started",
                () -> group.startAllToAllV(large, counts, other, counts).await(),
                () -> raw.allToAll(large, other));
        timing.add(
                "reduce-scatter",
                () -> group.reduceScatter(large, small, ReduceOp.SUM),
                () -> raw.reduceScatter(large, small));
        timing.add("all-gather", () -> group.allGather(small, large), () -> raw.allGather(small, large));
        timing.add("all-gather-v", () -> group.allGatherV(small, large, counts), () -> raw.allGather(small, large));
        timing.add("all-reduce", () -> group.allReduce(large, ReduceOp.SUM), () -> raw.allReduce(large));
        backend.download(small.view(0, Shape.of(1)));
    }

    private final class Timing {
        private final BenchRanks.Rank rank;
        private final Communicator group;
        private final DType type;
        private final long bytes;
        private final List<Result> results;

        Timing(BenchRanks.Rank rank, Communicator group, DType type, long bytes, List<Result> results) {
            this.rank = rank;
            this.group = group;
            this.type = type;
            this.bytes = bytes;
            this.results = results;
        }

        void add(String name, Runnable ours, Runnable theirs) {
            for (int i = 0; i < warmUps; i++) {
                ours.run();
                theirs.run();
            }
            long before = group.bytesSent();
            ours.run();
            long sent = group.bytesSent() - before;
            double[] mine = new double[ROUNDS];
            double[] raw = new double[ROUNDS];
            for (int i = 0; i < ROUNDS; i++) {
                mine[i] = time(ours);
                raw[i] = time(theirs);
            }
            results.add(new Result(name + " " + type, bytes, sent, median(mine), median(raw)));
        }

        /** All ranks begin together. */
        private double time(Runnable work) {
            group.barrier();
            return median(rank.device().milliseconds(runs, work));
        }
    }

    private static double median(double[] values) {
        double[] sorted = values.clone();
        Arrays.sort(sorted);
        return sorted[sorted.length / 2];
    }

    public static String header() {
        return String.format(
                "%-28s %9s %10s %9s %10s %9s %7s", "collective", "MiB", "ms", "GB/s", "NCCL ms", "GB/s", "ratio");
    }

    /** One line of the table. */
    public static String line(Result r) {
        return String.format(
                Locale.ROOT,
                "%-28s %9d %10.4f %9.1f %10.4f %9.1f %7.3f",
                r.operation(),
                r.bytes() >> 20,
                r.milliseconds(),
                r.rate(),
                r.raw(),
                r.sent() / r.raw() * 1e-6,
                r.ratio());
    }
}
