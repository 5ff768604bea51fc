package io.fourfold.kernels.cuda;

import static io.fourfold.kernels.cuda.CudaArguments.bf16;
import static io.fourfold.kernels.cuda.CudaArguments.blocks;
import static io.fourfold.kernels.cuda.CudaArguments.fp32;
import static io.fourfold.kernels.cuda.CudaArguments.int16;
import static io.fourfold.kernels.cuda.CudaArguments.int32;
import static io.fourfold.kernels.cuda.CudaArguments.kernel;
import static io.fourfold.kernels.cuda.CudaArguments.require;

import io.fourfold.kernels.numeric.ExactSum;
import io.fourfold.kernels.op.AdamWStep;
import io.fourfold.kernels.op.OptimizerOps;
import io.fourfold.kernels.op.SegmentAmax;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Tensor;
import java.util.ArrayList;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * AdamW and norms: optimizer.cu; splitting and joining of weights: split.cu; sums of squares: sum_squares.cu. All but the norms
 * is bit-equal to the CPU's.
 */
final class CudaOptimizerOps implements OptimizerOps, AutoCloseable {
    private static final String FILE = "optimizer";
    private static final String SPLIT_FILE = "split";
    private static final int UPDATE_THREADS = 256;
    private static final int BLOCK = 256;
    private static final int NORM_THREADS = 512;

    private final CudaRuntime cuda;
    private final SquareSums squares;
    private final CudaTensorScope scope;
    private final Map<long[], CudaTensor> segmentStarts = new IdentityHashMap<>();

    CudaOptimizerOps(CudaRuntime cuda) {
        this.cuda = cuda;
        this.squares = new SquareSums(cuda);
        this.scope = cuda.memory().scope(Region.WORKSPACE);
    }

    @Override
    public void adamW(
            Tensor weight, @Nullable Tensor remainder, Tensor grad, Tensor moment1, Tensor moment2, AdamWStep step) {
        long n = weight.elements();
        List<Object> arguments = new ArrayList<>();
        if (remainder == null) {
            arguments.add(fp32(weight, "weight", n));
        } else {
            arguments.add(bf16(weight, "weight", n));
            arguments.add(int16(remainder, "remainder", n));
        }
        addUpdate(arguments, n, grad, moment1, moment2, step);
        cuda.function(FILE, remainder == null ? "adamw" : "adamw_split")
                .launchLine(blocks(n, 4 * UPDATE_THREADS), UPDATE_THREADS, arguments.toArray());
    }

    @Override
    public void adamW(Tensor weight, Tensor grad, Tensor moment1, Tensor moment2, AdamWStep step, SegmentAmax largest) {
        long n = weight.elements();
        long[] starts = largest.starts();
        int segments = starts.length - 1;
        require(starts[segments] == n, "segments up to " + starts[segments] + " do not cover " + weight);
        if (n == 0) {
            return;
        }
        List<Object> arguments = new ArrayList<>();
        arguments.add(fp32(weight, "weight", n));
        addUpdate(arguments, n, grad, moment1, moment2, step);
        arguments.add(segmentStarts.computeIfAbsent(starts, this::upload));
        arguments.add(segments);
        arguments.add(fp32(largest.amax(), "amax", segments));
        cuda.function(FILE, "adamw_amax")
                .launchLine(blocks(n, 4 * UPDATE_THREADS), UPDATE_THREADS, arguments.toArray());
    }

    private static void addUpdate(
            List<Object> arguments, long n, Tensor grad, Tensor moment1, Tensor moment2, AdamWStep step) {
        require(step.step() >= 1, "AdamW counts steps from 1, got " + step.step());
        arguments.add(fp32(grad, "grad", n));
        arguments.add(fp32(moment1, "moment1", n));
        arguments.add(fp32(moment2, "moment2", n));
        arguments.add(n);
        arguments.add(step.gradScale());
        arguments.add(step.beta1());
        arguments.add(step.beta2());
        arguments.add((float) (1 - Math.pow(step.beta1(), step.step())));
        arguments.add((float) (1 - Math.pow(step.beta2(), step.step())));
        arguments.add(step.epsilon());
        arguments.add(step.learningRate());
        arguments.add(step.weightDecay());
    }

    /** INT64 on the device. */
    private CudaTensor upload(long[] starts) {
        int[] words = new int[2 * starts.length];
        for (int i = 0; i < starts.length; i++) {
            words[2 * i] = (int) starts[i];
            words[2 * i + 1] = (int) (starts[i] >>> 32);
        }
        CudaTensor table = scope.allocate(DType.INT32, starts.length, 2);
        cuda.memory().upload(words, table);
        return table;
    }

    @Override
    public void split(Tensor values, Tensor weight, @Nullable Tensor remainder) {
        long n = values.elements();
        cuda.function(SPLIT_FILE, "split_fp32")
                .launchLine(
                        blocks(n, 4 * BLOCK),
                        BLOCK,
                        fp32(values, "values", n),
                        bf16(weight, "weight", n),
                        CudaFunction.orNull(remainder == null ? null : int16(remainder, "remainder", n)),
                        n);
    }

    @Override
    public void join(Tensor weight, Tensor remainder, Tensor values) {
        long n = values.elements();
        cuda.function(SPLIT_FILE, "join_fp32")
                .launchLine(
                        blocks(n, 4 * BLOCK),
                        BLOCK,
                        bf16(weight, "weight", n),
                        int16(remainder, "remainder", n),
                        fp32(values, "values", n),
                        n);
    }

    @Override
    public void sumSquares(Tensor values, long[] starts, Tensor out) {
        require(
                starts.length == 0 || starts[starts.length - 1] <= values.elements(),
                "segments leave " + values.shape());
        long words = (long) ExactSum.INTS * Math.max(0, starts.length - 1);
        squares.find(fp32(values, "values", values.elements()), starts, int32(out, "out", words));
    }

    @Override
    public void close() {
        squares.close();
        scope.close();
    }

    @Override
    public void addSquaredNorm(Tensor values, Tensor out) {
        CudaTensor from = CudaTensor.of(values);
        CudaTensor to = fp32(out, "out", 1);
        long n = from.elements();
        int grid = (int) Math.min(
                (n + NORM_THREADS * 8L - 1) / (NORM_THREADS * 8L), cuda.device().multiprocessors() * 4L);
        try (CudaTensorScope work = cuda.workspace()) {
            CudaTensor partial = work.allocate(DType.INT32, Math.max(1, grid), 2); // FP64 [grid]
            cuda.function(FILE, kernel("squared_norm", from)).launchLine(grid, NORM_THREADS, from, n, partial);
            cuda.function(FILE, "add_sum_fp64").launchLine(1, NORM_THREADS, partial, grid, to);
        }
    }
}
