package io.fourfold.kernels;

import io.fourfold.kernels.comm.CommunicationWorld;
import io.fourfold.kernels.op.AttentionOps;
import io.fourfold.kernels.op.ElementwiseOps;
import io.fourfold.kernels.op.GemmOps;
import io.fourfold.kernels.op.LossOps;
import io.fourfold.kernels.op.MoeOps;
import io.fourfold.kernels.op.NormOps;
import io.fourfold.kernels.op.OptimizerOps;
import io.fourfold.kernels.op.QuantizeOps;
import io.fourfold.kernels.op.WeightCodeOps;
import io.fourfold.kernels.tensor.Lending;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * One device as the trainer sees it: memory and operations. The CPU backend is the oracle; every other backend must
 * agree with it. Operations of one backend run in the order of the calls; a call may return before the work is done,
 * {@link #download} waits for it. One backend serves one rank and is not thread-safe.
 */
public interface Backend extends AutoCloseable {
    /** What runs the operations, for logs: for example {@code cpu (OpenBLAS 0.3.31, 1 thread)}. */
    String description();

    /** Opens a new, empty scope. Close it to release everything allocated through it. */
    TensorScope scope(Region region);

    /**
     * Begins to lend memory of this backend whose contents nobody needs before it is written again.
     *
     * @param ranges in the order in which they will be reclaimed
     * @return null where the backend does not lend
     */
    default @Nullable Lending lend(List<Lending.Range> ranges) {
        return null;
    }

    /**
     * Queues work that comes back every step, as a whole where this backend can and it pays.
     *
     * @return false when {@link RepeatedWork#queue} was not called this time, so that nothing changed on the host
     */
    default boolean repeat(RepeatedWork work) {
        work.queue(work.numbers());
        return true;
    }

    /** True when {@link #repeat} may do better than queue the work piece by piece. */
    default boolean repeats() {
        return false;
    }

    void upload(float[] source, Tensor destination);

    void upload(int[] source, Tensor destination);

    /** Copies a float tensor (FP32 or BF16) to the host, waiting for all work that writes it. */
    float[] download(Tensor source);

    /** Copies several float tensors to the host, waiting once for all. */
    default List<float[]> download(List<Tensor> sources) {
        return sources.stream().map(this::download).toList();
    }

    /** As {@link #download(Tensor)}, into the first elements of an array that the caller keeps for the next time. */
    default void download(Tensor source, float[] destination) {
        float[] values = download(source);
        System.arraycopy(values, 0, destination, 0, values.length);
    }

    int[] downloadInts(Tensor source);

    ElementwiseOps elementwise();

    GemmOps gemm();

    QuantizeOps quantize();

    WeightCodeOps weightCodes();

    NormOps norm();

    AttentionOps attention();

    MoeOps moe();

    LossOps loss();

    OptimizerOps optimizer();

    /** The same ranks, in a world whose collectives take this backend's tensors. The given world is then not used. */
    default CommunicationWorld communicating(CommunicationWorld world) {
        return world;
    }

    @Override
    void close();
}
