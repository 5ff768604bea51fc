package io.fourfold.kernels.cpu;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.op.AttentionOps;
import io.fourfold.kernels.op.ElementwiseOps;
import io.fourfold.kernels.op.GemmOps;
import io.fourfold.kernels.op.LossOps;
import io.fourfold.kernels.op.MoeOps;
import io.fourfold.kernels.op.NormOps;
import io.fourfold.kernels.op.OptimizerOps;
import io.fourfold.kernels.op.QuantizeOps;
import io.fourfold.kernels.op.WeightCodeOps;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Lending;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The oracle: every operation in plain Java over heap arrays, matrix products by OpenBLAS. A call has done its work when
 * it returns. FP32 arithmetic throughout; BF16 outputs are rounded once, to nearest even.
 *
 * <p>With the system property {@code fourfold.poison=true}, new and released arrays are filled with NaN (integers with
 * the smallest value), so that reading uninitialized or released memory shows.
 */
public final class CpuBackend implements Backend {
    private final int threads;
    private final boolean poison;
    private final boolean lends;
    private final ArrayPool pool;
    private @Nullable CpuLending lending;
    private long peakLent;
    private final ElementwiseOps elementwise = new CpuElementwiseOps();
    private final QuantizeOps quantize = new CpuQuantizeOps();
    private final WeightCodeOps weightCodes = new CpuWeightCodes();
    private final CpuGemmOps gemm;
    private final NormOps norm = new CpuNormOps();
    private final CpuAttention attention = new CpuAttention();
    private final MoeOps moe = new CpuMoeOps();
    private final CpuLinearCrossEntropy loss = new CpuLinearCrossEntropy();
    private final OptimizerOps optimizer = new CpuAdamW();

    /** @param threads threads of OpenBLAS, which is process-wide: give every backend of a JVM the same number */
    public CpuBackend(int threads) {
        this(threads, Boolean.getBoolean("fourfold.poison"));
    }

    CpuBackend(int threads, boolean poison) {
        this(threads, poison, false);
    }

    private CpuBackend(int threads, boolean poison, boolean lends) {
        this.threads = threads;
        this.poison = poison;
        this.lends = lends;
        this.gemm = new CpuGemmOps(threads);
        this.pool = new ArrayPool(poison);
    }

    /** A backend that lends memory like a GPU and fills what is lent and released with NaN: for tests. */
    public static CpuBackend lending(int threads) {
        return new CpuBackend(threads, true, true);
    }

    /** Most floats that lay in lent memory at a time. */
    public long peakLentFloats() {
        return peakLent;
    }

    @Override
    public String description() {
        return "cpu (OpenBLAS, " + threads + (threads == 1 ? " thread)" : " threads)");
    }

    @Override
    public TensorScope scope(Region region) {
        return lending == null ? new CpuTensorScope(region, pool) : lending.scope(region);
    }

    @Override
    public @Nullable Lending lend(List<Lending.Range> ranges) {
        if (!lends) {
            return null;
        }
        if (lending != null) {
            throw new IllegalStateException("the backend is lending already");
        }
        CpuLending begun = new CpuLending(ranges, pool, poison, this::endLending);
        lending = begun;
        return begun;
    }

    private void endLending() {
        if (lending != null) {
            peakLent = Math.max(peakLent, lending.peak());
            lending = null;
        }
    }

    @Override
    public void upload(float[] source, Tensor destination) {
        CpuTensor to = CpuTensor.of(destination);
        requireLength(source.length, to);
        System.arraycopy(source, 0, to.floats(), to.offset(), source.length);
        if (to.dtype() == DType.BF16) {
            Bf16Rounding.round(to);
        }
    }

    @Override
    public void upload(int[] source, Tensor destination) {
        CpuTensor to = CpuTensor.of(destination);
        requireLength(source.length, to);
        System.arraycopy(source, 0, to.ints(), to.offset(), source.length);
    }

    @Override
    public float[] download(Tensor source) {
        CpuTensor from = CpuTensor.of(source);
        return Arrays.copyOfRange(from.floats(), from.offset(), from.offset() + from.size());
    }

    @Override
    public void download(Tensor source, float[] destination) {
        CpuTensor from = CpuTensor.of(source);
        System.arraycopy(from.floats(), from.offset(), destination, 0, from.size());
    }

    @Override
    public int[] downloadInts(Tensor source) {
        CpuTensor from = CpuTensor.of(source);
        return Arrays.copyOfRange(from.ints(), from.offset(), from.offset() + from.size());
    }

    @Override
    public ElementwiseOps elementwise() {
        return elementwise;
    }

    @Override
    public GemmOps gemm() {
        return gemm;
    }

    @Override
    public QuantizeOps quantize() {
        return quantize;
    }

    @Override
    public WeightCodeOps weightCodes() {
        return weightCodes;
    }

    @Override
    public NormOps norm() {
        return norm;
    }

    @Override
    public AttentionOps attention() {
        return attention;
    }

    @Override
    public MoeOps moe() {
        return moe;
    }

    @Override
    public LossOps loss() {
        return loss;
    }

    @Override
    public OptimizerOps optimizer() {
        return optimizer;
    }

    @Override
    public void close() {
        gemm.close();
        attention.close();
        loss.close();
        pool.clear();
    }

    private static void requireLength(int length, CpuTensor tensor) {
        if (length != tensor.size()) {
            throw new IllegalArgumentException("uploading " + length + " values into " + tensor);
        }
    }
}
