package io.fourfold.plan;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.ModelConfig;
import io.fourfold.config.MoeConfig;
import io.fourfold.config.RecipeConfig;
import io.fourfold.config.TrainConfig;
import io.fourfold.kernels.op.RowFormat;
import io.fourfold.parallel.Axis;
import io.fourfold.parallel.ParallelMapping;
import java.util.ArrayList;
import java.util.List;

/**
 * Bytes one rank sends to others along one axis in one optimizer step, its own part excluded. Token traffic assumes
 * balanced routing without dropping.
 *
 * @param axis group over which it goes
 * @param what collectives and their payload
 * @param bytes sent by one rank of the fullest stage
 */
public record Traffic(Axis axis, String what, long bytes) {
    private static final int FLOAT = 4;
    private static final int WORD = 4;

    static List<Traffic> of(FourfoldConfig config, ParallelMapping mapping, RankShare share) {
        List<Traffic> traffic = new ArrayList<>();
        gradients(mapping, share, traffic);
        tokens(config, mapping, share, traffic);
        return traffic.stream().filter(t -> t.bytes > 0).toList();
    }

    private static void gradients(ParallelMapping mapping, RankShare share, List<Traffic> traffic) {
        int dense = mapping.size(Axis.DP_CP);
        String what = "reduce-scatter of FP32 gradients, all-gather of FP32 weights";
        traffic.add(new Traffic(Axis.DP_CP, what + " (dense)", 2 * others(FLOAT * share.dense(), dense)));
        traffic.add(
                new Traffic(Axis.EDP, what + " (experts)", 2 * others(FLOAT * share.expert(), mapping.expertData())));
    }

    private static void tokens(FourfoldConfig config, ParallelMapping mapping, RankShare share, List<Traffic> traffic) {
        ModelConfig model = config.model();
        TrainConfig train = config.train();
        int element = config.recipe().kind() == RecipeConfig.Kind.FP32 ? 4 : 2;
        long microBatches = train.globalBatchSize() / mapping.data() / train.microBatchSize();
        long sequencePart = (long) train.microBatchSize() * train.sequenceLength() / mapping.context();
        long local = sequencePart / mapping.tensor();
        long row = (long) element * model.hiddenSize();
        MoeConfig moe = model.moe();
        if (moe != null) {
            long slots = microBatches * share.moeLayers() * local * moe.topK();
            long allWays = 3 * row + dispatchedRow(config.recipe().dispatch(), row, model.hiddenSize());
            traffic.add(new Traffic(
                    Axis.EP,
                    "all-to-all of tokens: dispatch and combine, forward and backward",
                    others(slots * allWays, mapping.expert())));
            traffic.add(new Traffic(
                    Axis.ETP,
                    "all-gather and reduce-scatter of expert inputs and outputs, forward and backward",
                    slots * allWays * (mapping.expertTensor() - 1)));
        }
        int dense = share.layers() - share.moeLayers();
        traffic.add(new Traffic(
                Axis.TP,
                "all-gather and reduce-scatter of the sequence, forward and backward",
                4 * others(microBatches * (share.layers() + dense) * sequencePart * row, mapping.tensor())));
        long keyValue = 2L * element * model.attention().kvWidth() / mapping.tensor();
        traffic.add(new Traffic(
                Axis.CP,
                "keys and values forward, their gradients backward",
                2 * microBatches * share.layers() * sequencePart * keyValue * (mapping.context() - 1)));
        boolean pipelined = mapping.pipeline() > 1;
        int chunks = config.parallel().virtualStages();
        traffic.add(new Traffic(
                Axis.PP,
                "activations to the next stage, gradients to the previous one",
                pipelined ? 2 * microBatches * chunks * local * row : 0));
    }

    /** Bytes of a row on its way to an expert in the forward pass. */
    private static long dispatchedRow(RecipeConfig.Dispatch dispatch, long exact, int hidden) {
        return switch (dispatch) {
            case EXACT -> exact;
            case FP8 -> (long) WORD * RowFormat.FP8.words(hidden);
            case NVFP4 -> (long) WORD * RowFormat.NVFP4.words(hidden);
        };
    }

    /** The share of {@code bytes} that goes to the other members of a group. */
    private static long others(long bytes, int members) {
        return bytes / members * (members - 1);
    }
}
