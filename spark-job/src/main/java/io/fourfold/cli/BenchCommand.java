package io.fourfold.cli;

import io.fourfold.bench.BenchDevice;
import io.fourfold.bench.BenchShape;
import io.fourfold.bench.BenchText;
import io.fourfold.bench.CollectiveBenchmark;
import io.fourfold.bench.CpuBenchDevice;
import io.fourfold.bench.CudaBenchDevice;
import io.fourfold.bench.RankBenchmark;
import io.fourfold.bench.StepBenchmark;
import io.fourfold.bench.StepResult;
import io.fourfold.bench.operations.OperationBenchmark;
import io.fourfold.bench.operations.OperationGroup;
import io.fourfold.bench.operations.OperationResult;
import io.fourfold.config.RecipeConfig;
import io.fourfold.config.RunConfig;
import io.fourfold.kernels.cuda.CudaDevice;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.function.IntFunction;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** Measures this machine. */
@Command(
        name = "bench",
        description =
                "Measure whole training steps, or with --operations single operations, on this machine's GPU or CPU:"
                        + " random data, medians by device events. Needs no data and starts no Spark.")
final class BenchCommand implements Callable<Integer> {
    @Mixin
    private CommonOptions common = new CommonOptions();

    @Option(
            names = "--backend",
            paramLabel = "NAME",
            defaultValue = "auto",
            description = "cuda, cpu, or auto: cuda where there is a GPU (default: ${DEFAULT-VALUE}).")
    private RunConfig.BackendKind backend = RunConfig.BackendKind.AUTO;

    @Option(names = "--gpu", paramLabel = "N", defaultValue = "0", description = "Which GPU (default: 0).")
    private int gpu;

    @Option(
            names = "--threads",
            paramLabel = "N",
            defaultValue = "1",
            description = "OpenBLAS threads on the CPU (default: 1).")
    private int threads;

    @Option(
            names = "--operations",
            paramLabel = "GROUP",
            split = ",",
            description =
                    "Measure single operations instead of steps, each checked against a reference first: all, gemm,"
                            + " grouped, attention, quantize, adamw, norm, loss, permute; collectives with --ranks.")
    private Set<OperationGroup> operations = Set.of();

    @Option(
            names = "--seed",
            paramLabel = "N",
            description = "Of the operations' random data (default: a new one each time; it is in the results).")
    private long seed = System.nanoTime();

    @Option(
            names = "--steps",
            paramLabel = "SHAPE",
            split = ",",
            description =
                    "Models whose steps (with --operations: sizes) are measured: S (moe-1b), M (2 blocks of Mixtral 8x7B), Q (4 blocks of"
                            + " Qwen3-30B-A3B), T (tiny). Default: S,M,Q on a GPU, T on a CPU.")
    private List<BenchShape> shapes = List.of();

    @Option(
            names = "--recipes",
            paramLabel = "RECIPE",
            split = ",",
            defaultValue = "bf16,nvfp4",
            description = "Recipes (default: ${DEFAULT-VALUE}).")
    private List<RecipeConfig.Kind> recipes = List.of();

    @Option(
            names = "--micro-batches",
            paramLabel = "N",
            defaultValue = "1",
            description = "Micro-batches accumulated in a step (default: 1).")
    private int microBatches;

    @Option(
            names = "--warm-ups",
            paramLabel = "N",
            defaultValue = "5",
            description = "Steps or runs before (default: 5).")
    private int warmUps;

    @Option(
            names = "--runs",
            paramLabel = "N",
            defaultValue = "10",
            description = "Measured steps or runs (default: 10).")
    private int runs;

    @Option(
            names = "--ranks",
            paramLabel = "N",
            defaultValue = "1",
            description = "Measure steps on N GPUs of this machine against one of them (default: 1).")
    private int ranks;

    @Option(
            names = "--mapping",
            paramLabel = "MAPPING",
            split = ";",
            description = "With --ranks: how they share the work, for example 'EP2' or 'TP2 EP4'; several separated by"
                    + " semicolons. Each rank holds as many tokens as the one does (default: data parallelism).")
    private List<String> mappings = List.of("");

    @Option(
            names = "--set",
            paramLabel = "KEY=VALUE",
            description = "Change a setting of the steps, for example train.recompute=[activation]; repeatable.")
    private List<String> settings = List.of();

    @Option(
            names = "--trace",
            description = "Trace one more step: time by kernel and the share in which the GPU idles.")
    private boolean trace;

    @Override
    public Integer call() {
        boolean cuda = useCuda();
        List<BenchShape> chosen = !shapes.isEmpty()
                ? shapes
                : cuda ? List.of(BenchShape.S, BenchShape.M, BenchShape.Q) : List.of(BenchShape.T);
        checkNumbers(cuda);
        checkOperations(cuda);
        if (operations.isEmpty()) {
            for (BenchShape shape : chosen) {
                recipes.forEach(
                        recipe -> BenchConfigurations.check(ranks, mappings, settings, job(shape, recipe), cuda));
            }
        }
        if (ranks > 1) {
            return measureRanks(cuda, chosen);
        }
        if (!operations.isEmpty()) {
            return measureOperations(cuda, chosen);
        }
        List<StepResult> results = new ArrayList<>();
        for (BenchShape shape : chosen) {
            for (RecipeConfig.Kind recipe : recipes) {
                results.add(measure(cuda, shape, recipe, results.isEmpty()));
            }
        }
        if (common.json) {
            common.printJson(results);
        }
        return ExitCode.OK.number();
    }

    private int measureOperations(boolean cuda, List<BenchShape> chosen) {
        List<OperationResult> results = new ArrayList<>();
        OperationBenchmark.Job job =
                new OperationBenchmark.Job(operations, chosen, warmUps, runs, seed, VersionProvider.current());
        try (BenchDevice device = cuda ? new CudaBenchDevice(gpu) : new CpuBenchDevice(threads)) {
            common.say("%s; Fourfold %s; seed %d", device.description(), job.version(), seed);
            common.say("%s", OperationBenchmark.header());
            OperationBenchmark.run(device, job, result -> {
                results.add(result);
                common.say("%s", OperationBenchmark.line(result));
            });
        }
        if (common.json) {
            common.printJson(results);
        }
        long failed = results.stream().filter(result -> !result.passed()).count();
        if (failed > 0) {
            common.err().printf("%d of %d operations computed something wrong%n", failed, results.size());
            return ExitCode.WRONG_RESULT.number();
        }
        return ExitCode.OK.number();
    }

    private int measureRanks(boolean cuda, List<BenchShape> chosen) {
        IntFunction<BenchDevice> devices = cuda ? CudaBenchDevice::new : index -> new CpuBenchDevice(threads);
        List<Object> results = new ArrayList<>();
        try {
            if (operations.contains(OperationGroup.COLLECTIVES)) {
                common.say("%s", CollectiveBenchmark.header());
                for (CollectiveBenchmark.Result result : CollectiveBenchmark.run(ranks, warmUps, runs, devices)) {
                    results.add(result);
                    common.say("%s", CollectiveBenchmark.line(result));
                }
            } else {
                measureMappings(new RankBenchmark(devices), chosen, results);
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted", e);
        }
        if (common.json) {
            common.printJson(results);
        }
        return ExitCode.OK.number();
    }

    private void measureMappings(RankBenchmark benchmark, List<BenchShape> chosen, List<Object> results)
            throws InterruptedException {
        common.say("%s", RankBenchmark.header());
        for (BenchShape shape : chosen) {
            for (RecipeConfig.Kind recipe : recipes) {
                StepBenchmark.Job job = job(shape, recipe);
                for (String mapping : mappings) {
                    RankBenchmark.Result result = benchmark.run(ranks, mapping, settings, job);
                    results.add(result);
                    common.say("%s", RankBenchmark.line(result));
                    if (trace) {
                        common.say("%s", BenchText.details(result.ranks().get(0)));
                    }
                }
            }
        }
    }

    /** Each model gets a device of its own, so that memory peaks do not mix. */
    private StepResult measure(boolean cuda, BenchShape shape, RecipeConfig.Kind recipe, boolean first) {
        try (BenchDevice device = cuda ? new CudaBenchDevice(gpu) : new CpuBenchDevice(threads)) {
            if (first) {
                common.say("%s", device.description());
                common.say("%s", BenchText.stepHeader());
            }
            StepResult result = StepBenchmark.run(device, job(shape, recipe), settings);
            common.say("%s", BenchText.step(result));
            if (!result.memory().isEmpty()) {
                common.say("%s", BenchText.memory(result));
            }
            if (trace) {
                common.say("%s", BenchText.details(result));
            }
            return result;
        }
    }

    private StepBenchmark.Job job(BenchShape shape, RecipeConfig.Kind recipe) {
        return new StepBenchmark.Job(shape, recipe, microBatches, warmUps, runs, trace);
    }

    private void checkNumbers(boolean cuda) {
        if (microBatches < 1 || warmUps < 1 || runs < 1 || ranks < 1 || threads < 1) {
            throw new UsageException("--micro-batches, --warm-ups, --runs, --ranks and --threads must be at least 1");
        }
        if (gpu < 0) {
            throw new UsageException("--gpu counts from 0; it cannot be " + gpu);
        }
        if (ranks == 1 && mapped()) {
            throw new UsageException("--mapping needs --ranks of at least 2");
        }
        int needed = ranks > 1 ? ranks : gpu + 1;
        if (cuda && CudaDevice.count() < needed) {
            throw new UsageException((ranks > 1 ? "--ranks " + ranks : "--gpu " + gpu) + " needs " + needed
                    + " GPUs, and this process sees " + CudaDevice.count());
        }
    }

    private boolean mapped() {
        return mappings.stream().anyMatch(mapping -> !mapping.isBlank());
    }

    private void checkOperations(boolean cuda) {
        if (!operations.isEmpty() && (!settings.isEmpty() || mapped())) {
            throw new UsageException(
                    "--operations measures sizes of the models, which --set and --mapping do not change");
        }
        boolean collectives = operations.contains(OperationGroup.COLLECTIVES);
        if (collectives && ranks == 1) {
            throw new UsageException("collectives need --ranks of at least 2");
        }
        if (ranks > 1 && !operations.isEmpty() && !operations.equals(Set.of(OperationGroup.COLLECTIVES))) {
            throw new UsageException("--ranks measures steps, or --operations collectives");
        }
        if (collectives && !cuda) {
            throw new UsageException("collectives are compared with NCCL and need GPUs");
        }
    }

    private boolean useCuda() {
        String reason = backend == RunConfig.BackendKind.CPU ? null : CudaDevice.unavailableBecause();
        if (backend == RunConfig.BackendKind.CUDA && reason != null) {
            throw new UsageException("--backend cuda finds no GPU; use --backend cpu to measure the CPU. The reason: "
                    + reason.replace("run.backend=cpu", "--backend cpu"));
        }
        return backend != RunConfig.BackendKind.CPU && reason == null;
    }
}
