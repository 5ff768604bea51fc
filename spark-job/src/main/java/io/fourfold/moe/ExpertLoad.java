package io.fourfold.moe;

import io.fourfold.config.MoeConfig;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.comm.ReduceOp;
import io.fourfold.kernels.tensor.Tensor;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Slots per expert over a whole optimizer step and all ranks, and what is steered by them: the expert bias of
 * auxiliary-loss-free balancing (arXiv:2408.15664: b += u * sign(mean - n)) and the load that the global-batch balancing
 * loss of the next step uses.
 */
public final class ExpertLoad {
    private final Backend backend;
    private final MoeConfig moe;
    private final Communicator samples;
    private final Tensor counts;
    private final List<@Nullable Tensor> biases;
    private final List<@Nullable Tensor> previousLoads;

    /**
     * @param samples ranks that see different tokens (DP x CP)
     * @param counts FP32 [MoE layers, E], filled by the routers
     * @param biases FP32 [E] for each MoE layer, or null
     * @param previousLoads FP32 [E] for each MoE layer, or null
     */
    public ExpertLoad(
            Backend backend,
            MoeConfig moe,
            Communicator samples,
            Tensor counts,
            List<@Nullable Tensor> biases,
            List<@Nullable Tensor> previousLoads) {
        this.backend = backend;
        this.moe = moe;
        this.samples = samples;
        this.counts = counts;
        this.biases = biases;
        this.previousLoads = previousLoads;
    }

    /** Running counts of one MoE layer, FP32 [E]. */
    public Tensor stepCounts(int index) {
        return counts.rows(index, index + 1).reshape(moe.experts());
    }

    /** Forgets the counts; at the start of a step. */
    public void clear() {
        backend.elementwise().fill(counts, 0f);
    }

    /** Sums the counts over the ranks and moves biases and loads; collective. Returns [MoE layers][E]. */
    public int[][] finishStep() {
        if (samples.size() > 1) {
            samples.allReduce(counts, ReduceOp.SUM);
        }
        float[] host = backend.download(counts);
        int experts = moe.experts();
        int[][] loads = new int[biases.size()][experts];
        for (int layer = 0; layer < loads.length; layer++) {
            for (int e = 0; e < experts; e++) {
                loads[layer][e] = Math.round(host[layer * experts + e]);
            }
            moveBias(biases.get(layer), loads[layer]);
            storeLoad(previousLoads.get(layer), loads[layer]);
        }
        return loads;
    }

    private void moveBias(@Nullable Tensor bias, int[] load) {
        if (bias == null) {
            return;
        }
        long total = total(load);
        float rate = (float) moe.router().biasUpdateRate();
        float[] values = backend.download(bias);
        for (int e = 0; e < load.length; e++) {
            // sign(mean - n) without dividing.
            values[e] += rate * Long.signum(total - (long) load[e] * load.length);
        }
        backend.upload(values, bias);
    }

    private void storeLoad(@Nullable Tensor previousLoad, int[] load) {
        long total = total(load);
        if (previousLoad == null || total == 0) {
            return;
        }
        float[] share = new float[load.length];
        for (int e = 0; e < load.length; e++) {
            share[e] = (float) ((double) load[e] / total);
        }
        backend.upload(share, previousLoad);
    }

    private static long total(int[] load) {
        long total = 0;
        for (int n : load) {
            total += n;
        }
        return total;
    }
}
