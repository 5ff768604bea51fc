package io.fourfold.model;

import io.fourfold.config.MoeConfig;
import io.fourfold.data.Batch;
import io.fourfold.metrics.StepMetrics.LayerLoad;
import io.fourfold.model.MicroBatchReport.HostReport;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** A micro-batch's values, read from its device report on first use. */
final class ReportedResult implements MicroBatchResult {
    private final MoeState moe;
    private final MicroBatchReport report;
    private final int samples;
    private final int sequenceLength;
    private final int localTokens;
    private final int labels;
    private final double share;
    private @Nullable HostReport host;

    ReportedResult(MoeState moe, MicroBatchReport report, Batch batch, int localTokens, StepContext step) {
        this.moe = moe;
        this.report = report;
        this.samples = batch.samples();
        this.sequenceLength = batch.sequenceLength();
        this.localTokens = localTokens;
        this.labels = batch.labelCount();
        this.share = (double) samples / step.globalBatchSize();
    }

    @Override
    public double lossSum() {
        return host().lossSum();
    }

    @Override
    public int labels() {
        return labels;
    }

    @Override
    public double auxLoss() {
        double sum = 0;
        for (int i = 0; i < moe.layers().size(); i++) {
            sum += moe.routers()
                    .get(i)
                    .balanceLossValue(
                            host().counts(i), host().scoreSums(i), moe.previousLoad(i), samples, sequenceLength, share);
        }
        return sum;
    }

    @Override
    public double zLoss() {
        double sum = 0;
        for (int i = 0; i < moe.layers().size(); i++) {
            sum += moe.routers().get(i).zLossValue(host().zSum(i), samples * sequenceLength, share);
        }
        return sum;
    }

    @Override
    public List<LayerLoad> expertLoad() {
        List<LayerLoad> loads = new ArrayList<>();
        for (int i = 0; i < moe.layers().size(); i++) {
            int[] tokens = new int[experts()];
            float[] counts = host().counts(i);
            for (int j = 0; j < counts.length; j++) {
                tokens[j % tokens.length] += Math.round(counts[j]);
            }
            loads.add(new LayerLoad(moe.layers().get(i), tokens));
        }
        return loads;
    }

    @Override
    public long droppedSlots() {
        long kept = 0;
        for (int i = 0; i < moe.layers().size(); i++) {
            kept += host().keptSlots(i);
        }
        return slots() - kept;
    }

    @Override
    public long slots() {
        MoeConfig config = moe.config();
        return config == null ? 0 : (long) moe.layers().size() * localTokens * config.topK();
    }

    private int experts() {
        MoeConfig config = moe.config();
        return config == null ? 0 : config.experts();
    }

    private HostReport host() {
        if (host == null) {
            host = report.download(moe.backend());
        }
        return host;
    }
}
