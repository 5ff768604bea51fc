package io.fourfold.model;

import io.fourfold.config.MoeConfig;
import io.fourfold.data.Batch;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import io.fourfold.metrics.StepMetrics.LayerLoad;
import io.fourfold.moe.ExpertLoad;
import io.fourfold.moe.Router;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What the MoE layers of a model share: their routers, the load of the current step, and the reports.
 *
 * @param layers block index of each MoE layer
 * @param previousLoads FP32 [E] for each MoE layer, or null
 * @param stepLoads FP32 [MoE layers, E], the previous loads as they were when the step began; null when unused
 * @param scope owner of the load counters
 */
record MoeState(
        Backend backend,
        @Nullable MoeConfig config,
        List<Integer> layers,
        List<Router> routers,
        List<@Nullable Tensor> previousLoads,
        @Nullable Tensor stepLoads,
        @Nullable ExpertLoad load,
        TensorScope scope)
        implements AutoCloseable {

    void beginStep() {
        if (load != null) {
            load.clear();
        }
        for (int i = 0; i < previousLoads.size(); i++) {
            Tensor previous = previousLoads.get(i);
            if (previous != null && stepLoads != null) {
                backend.elementwise().copy(previous, row(stepLoads, i));
            }
        }
    }

    /** A report for one micro-batch. */
    MicroBatchReport report(TensorScope reports, int sequences, int tokens) {
        int groups = routers.isEmpty() ? 0 : routers.get(0).groups(sequences);
        int experts = config == null ? 0 : config.experts();
        return new MicroBatchReport(reports, tokens, layers.size(), groups, experts, load);
    }

    MicroBatchResult result(MicroBatchReport report, Batch batch, int localTokens, StepContext step) {
        return new ReportedResult(this, report, batch, localTokens, step);
    }

    List<LayerLoad> endStep() {
        List<LayerLoad> loads = new ArrayList<>();
        if (load != null) {
            int[][] counts = load.finishStep();
            for (int i = 0; i < counts.length; i++) {
                loads.add(new LayerLoad(layers.get(i), counts[i]));
            }
        }
        return loads;
    }

    /** The load that the losses of this step use, on the host; empty when they use none. */
    float[] previousLoad(int moeIndex) {
        return stepLoads == null ? new float[0] : backend.download(row(stepLoads, moeIndex));
    }

    private static Tensor row(Tensor matrix, int i) {
        return matrix.rows(i, i + 1).reshape(matrix.dim(1));
    }

    @Override
    public void close() {
        scope.close();
    }
}
