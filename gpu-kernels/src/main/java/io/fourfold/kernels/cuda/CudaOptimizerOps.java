package io.fourfold.kernels.cuda;

import static io.fourfold.kernels.cuda.CudaArguments.blocks;
import static io.fourfold.kernels.cuda.CudaArguments.floats;
import static io.fourfold.kernels.cuda.CudaArguments.fp32;
import static io.fourfold.kernels.cuda.CudaArguments.kernel;
import static io.fourfold.kernels.cuda.CudaArguments.require;

import io.fourfold.kernels.op.AdamWStep;
import io.fourfold.kernels.op.OptimizerOps;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/** AdamW and norms: optimizer.cu. The update is bit-equal to the CPU's. */
final class CudaOptimizerOps implements OptimizerOps, AutoCloseable {
    private static final String FILE = "optimizer";
    private static final int NORM_THREADS = 512;

    private final CudaRuntime cuda;
    private final SegmentNorms norms;

    CudaOptimizerOps(CudaRuntime cuda) {
        this.cuda = cuda;
        this.norms = new SegmentNorms(cuda);
    }

    @Override
    public void adamW(
            Tensor weight, Tensor grad, Tensor moment1, Tensor moment2, @Nullable Tensor rounded, AdamWStep step) {
        long n = weight.elements();
        require(step.step() >= 1, "AdamW counts steps from 1, got " + step.step());
        CudaTensor copy = rounded == null ? null : floats(rounded, "rounded", n);
        require(copy == null || copy.dtype() == DType.BF16, "rounded must be BF16, got " + copy);
        cuda.function(FILE, "adamw")
                .launchLine(
                        blocks(n, 1024),
                        256,
                        fp32(weight, "weight", n),
                        fp32(grad, "grad", n),
                        fp32(moment1, "moment1", n),
                        fp32(moment2, "moment2", n),
                        CudaFunction.orNull(copy),
                        n,
                        step.gradScale(),
                        step.beta1(),
                        step.beta2(),
                        (float) (1 - Math.pow(step.beta1(), step.step())),
                        (float) (1 - Math.pow(step.beta2(), step.step())),
                        step.epsilon(),
                        step.learningRate(),
                        step.weightDecay());
    }

    @Override
    public void addSquaredNorms(Tensor values, long[] starts, Tensor out) {
        require(
                starts.length == 0 || starts[starts.length - 1] <= values.elements(),
                "segments leave " + values.shape());
        norms.add(CudaTensor.of(values), starts, fp32(out, "out", Math.max(0, starts.length - 1)));
    }

    @Override
    public void close() {
        norms.close();
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
