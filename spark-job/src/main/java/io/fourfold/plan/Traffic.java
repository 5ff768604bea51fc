package io.fourfold.plan;

import io.fourfold.config.CapacityConfig;
import io.fourfold.config.ContextExchange;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.GradientFormat;
import io.fourfold.config.ModelConfig;
import io.fourfold.config.MoeConfig;
import io.fourfold.config.RecipeConfig;
import io.fourfold.config.RouterConfig;
import io.fourfold.config.RouterConfig.AuxLossScope;
import io.fourfold.kernels.op.RowFormat;
import io.fourfold.model.Parameter;
import io.fourfold.model.ParameterStore;
import io.fourfold.parallel.Axis;
import io.fourfold.parallel.ParallelMapping;
import java.util.ArrayList;
import java.util.List;

/**
 * Bytes one rank sends to others along one axis in one optimizer step, its own part excluded: what the communicators of
 * that axis count, see {@link io.fourfold.kernels.comm.Communicator#bytesSent}. Token traffic assumes balanced routing
 * without dropping (with {@code dispatch_unit: token}, that every choice of experts is as likely), and that every label
 * counts. Weights that may go as codes do, which they do not before steps that read more of them: those that collect
 * statistics, and those after the late switch. Sums of a few scalars over the world, the amax of split quantized operands,
 * telemetry, validation, checkpoints and what recomputed layers exchange again come on top.
 *
 * @param axis group over which it goes
 * @param what collectives and their payload
 * @param bytes sent by one rank
 */
public record Traffic(Axis axis, String what, long bytes) {
    private static final int FLOAT = 4;
    private static final int WORD = 4;
    private static final int DOUBLE = 8;
    private static final int PACKED_COLUMNS = 128;

    /** Of one rank of the world. */
    public static List<Traffic> of(FourfoldConfig config, int worldRank) {
        ParallelMapping mapping = ParallelMapping.of(config.parallel());
        int pipelineRank = mapping.coordinate(Axis.PP, worldRank);
        WeightTraffic weights = new WeightTraffic(config, mapping, pipelineRank, worldRank);
        return of(config, mapping, RankShare.of(config, pipelineRank), weights);
    }

    /** Of the rank with that share that sends the most. */
    static List<Traffic> of(FourfoldConfig config, ParallelMapping mapping, RankShare share) {
        return of(config, mapping, share, new WeightTraffic(config, mapping, share.pipelineRank(), null));
    }

    private static List<Traffic> of(
            FourfoldConfig config, ParallelMapping mapping, RankShare share, WeightTraffic weights) {
        List<Traffic> traffic = new ArrayList<>();
        gradients(config, mapping, share, weights, traffic);
        tokens(config, mapping, share, traffic);
        traffic.add(pipeline(config, mapping, share));
        return traffic.stream().filter(t -> t.bytes > 0).toList();
    }

    private static void gradients(
            FourfoldConfig config,
            ParallelMapping mapping,
            RankShare share,
            WeightTraffic weights,
            List<Traffic> traffic) {
        GradientFormat format = config.parallel().gradients().format();
        boolean split = config.recipe().kind().splitsMasters();
        int weight = split ? FLOAT / 2 : FLOAT;
        String reduced = "reduce-scatter of " + format + " gradients, all-gather of ";
        String plain = split ? "BF16 weights" : "FP32 weights";
        MoeConfig moe = config.model().moe();
        long load = moe == null ? 0 : (long) FLOAT * moe.experts() * share.moeLayers();
        traffic.add(new Traffic(Axis.DP, "number of labels", (long) DOUBLE * (mapping.data() - 1)));
        int replicas = mapping.size(Axis.DP_CP);
        traffic.add(new Traffic(
                Axis.DP_CP,
                reduced + (weights.coded(Parameter.Kind.DENSE) ? "NVFP4 codes and " : "") + plain + " (dense)",
                gradients(format, share.dense(), replicas)
                        + weights.sent(Parameter.Kind.DENSE, weights(share.dense(), weight, replicas))));
        int stage = mapping.size(Axis.STAGE);
        traffic.add(new Traffic(
                Axis.STAGE,
                reduced + "FP32 weights (norms, routers), expert load",
                gradients(format, share.replicated(), stage)
                        + weights(share.replicated(), FLOAT, stage)
                        + 2 * others(load, stage)));
        traffic.add(new Traffic(
                Axis.EDP,
                reduced + (weights.coded(Parameter.Kind.EXPERT) ? "NVFP4 codes and " : "") + plain + " (experts)",
                gradients(format, share.expert(), mapping.expertData())
                        + weights.sent(Parameter.Kind.EXPERT, weights(share.expert(), weight, mapping.expertData()))));
    }

    /** A flat buffer's way out as gradients. FP8 rows are counted for undivided shards. */
    private static long gradients(GradientFormat format, long elements, int ranks) {
        long padded = ParameterStore.padded(elements, ranks);
        long gradients = switch (format) {
            case FP32 -> FLOAT * padded;
            case BF16 -> FLOAT / 2 * padded;
            case FP8 -> ranks * packedRows(padded / ranks) * WORD * RowFormat.FP8.words(PACKED_COLUMNS);
        };
        return others(gradients, ranks);
    }

    /** Its way back as weights of so many bytes. */
    private static long weights(long elements, int bytes, int ranks) {
        return others(bytes * ParameterStore.padded(elements, ranks), ranks);
    }

    private static long packedRows(long elements) {
        return (elements + PACKED_COLUMNS - 1) / PACKED_COLUMNS;
    }

    private static void tokens(FourfoldConfig config, ParallelMapping mapping, RankShare share, List<Traffic> traffic) {
        ModelConfig model = config.model();
        long microBatches = microBatches(config, mapping);
        long row = (long) element(config) * model.hiddenSize();
        MoeConfig moe = model.moe();
        if (moe != null) {
            long layers = microBatches * share.moeLayers();
            ExpertTraffic experts = ExpertTraffic.of(config, moe, mapping, localTokens(config, mapping), row);
            boolean exchanged = mapping.expert() > 1 || mapping.expertTensor() > 1;
            traffic.add(new Traffic(
                    Axis.EP,
                    "all-to-all of tokens: dispatch and combine, forward and backward",
                    exchanged ? layers * others(experts.sent(), mapping.expert()) : 0));
            traffic.add(new Traffic(
                    Axis.ETP,
                    "all-gather and reduce-scatter of expert inputs and outputs, forward and backward",
                    layers * experts.gathered() * (mapping.expertTensor() - 1)));
        }
        tensorParallel(config, mapping, share, traffic);
        traffic.add(contextParallel(config, mapping, share));
        if (moe != null) {
            traffic.add(new Traffic(
                    Axis.TP_CP,
                    "expert counts of balancing losses, choices of whole sequences",
                    microBatches * share.moeLayers() * shared(config, moe, mapping)));
        }
    }

    /** Keys and values [C, 2 * kvHeads * headDim] of a rank go to every other one, their gradient comes back. */
    private static Traffic contextParallel(FourfoldConfig config, ParallelMapping mapping, RankShare share) {
        boolean ring = config.parallel().contextExchange() == ContextExchange.RING;
        long rows = localTokens(config, mapping) * mapping.tensor();
        long values = 2L * config.model().attention().kvWidth() / mapping.tensor();
        // A ring sends them once more in backward, and gradients that are still being summed in FP32.
        int bytes = ring ? 2 * element(config) + FLOAT : 2 * element(config);
        return new Traffic(
                Axis.CP,
                ring
                        ? "keys and values around the ring in forward and backward, their FP32 gradients backward"
                        : "keys and values forward, their gradients backward",
                microBatches(config, mapping) * share.layers() * rows * values * bytes * (mapping.context() - 1));
    }

    /** Every split layer gathers rows and sums rows, in forward and in backward; embedding and head do half of that. */
    private static void tensorParallel(
            FourfoldConfig config, ParallelMapping mapping, RankShare share, List<Traffic> traffic) {
        ModelConfig model = config.model();
        MoeConfig moe = model.moe();
        long microBatches = microBatches(config, mapping);
        long rows = localTokens(config, mapping) * mapping.tensor();
        long row = (long) element(config) * model.hiddenSize();
        int dense = share.layers() - share.moeLayers();
        int withShared = moe == null || moe.sharedExpert() == null ? 0 : share.moeLayers();
        long exchanges =
                4L * (share.layers() + dense + withShared) + (share.firstStage() ? 2 : 0) + (share.lastStage() ? 2 : 0);
        // All-reduced for every counted label: the largest logit, the sum of exponentials and the label's logit.
        long loss = share.lastStage() ? 2 * 3 * FLOAT * rows : 0;
        traffic.add(new Traffic(
                Axis.TP,
                "all-gather and reduce-scatter of the sequence, forward and backward; loss of the split vocabulary",
                microBatches * (exchanges * others(rows * row, mapping.tensor()) + others(loss, mapping.tensor()))));
    }

    /** Bytes of one MoE layer and micro-batch among the ranks that hold it. */
    private static long shared(FourfoldConfig config, MoeConfig moe, ParallelMapping mapping) {
        int holders = mapping.size(Axis.TP_CP);
        RouterConfig router = moe.router();
        long bytes = 0;
        if (router.auxLossCoeff() > 0 && router.auxLossScope() != AuxLossScope.GLOBAL_BATCH) {
            boolean sequences = router.auxLossScope() == AuxLossScope.SEQUENCE;
            long groups = sequences ? config.train().microBatchSize() : 1;
            bytes += 2 * others(groups * moe.experts() * FLOAT, holders);
        }
        CapacityConfig capacity = moe.capacity();
        if (capacity != null && capacity.scope() == CapacityConfig.Scope.FULL_SEQUENCE) {
            int words = capacity.policy() == CapacityConfig.Policy.PROBABILITY ? 2 : 1;
            bytes += localTokens(config, mapping) * moe.topK() * words * WORD * (holders - 1);
        }
        return bytes;
    }

    private static Traffic pipeline(FourfoldConfig config, ParallelMapping mapping, RankShare share) {
        ModelConfig model = config.model();
        int ranks = mapping.pipeline();
        long row = (long) element(config) * model.hiddenSize();
        // Every chunk sends its output on and its input's gradient back, but for the ends of the model.
        int sends = 2 * config.parallel().virtualStages() - (share.firstStage() ? 1 : 0) - (share.lastStage() ? 1 : 0);
        long activations = microBatches(config, mapping) * sends * localTokens(config, mapping) * row;
        boolean tied = model.tieEmbeddings() && (share.firstStage() || share.lastStage());
        long embedding = tied ? (long) FLOAT * model.vocabSize() * model.hiddenSize() / mapping.tensor() : 0;
        long load = model.moe() == null ? 0 : (long) WORD * model.moe().experts() * share.moeLayers() * (ranks - 1);
        return new Traffic(
                Axis.PP,
                "activations to the next stage, gradients to the previous one",
                ranks == 1 ? 0 : activations + embedding + load);
    }

    /** Bytes of an activation. */
    private static int element(FourfoldConfig config) {
        return config.recipe().kind() == RecipeConfig.Kind.FP32 ? 4 : 2;
    }

    private static long microBatches(FourfoldConfig config, ParallelMapping mapping) {
        return config.train().globalBatchSize()
                / mapping.data()
                / config.train().microBatchSize();
    }

    /** Rows of the residual stream on one rank. */
    private static long localTokens(FourfoldConfig config, ParallelMapping mapping) {
        long tokens = (long) config.train().microBatchSize() * config.train().sequenceLength();
        return tokens / mapping.context() / mapping.tensor();
    }

    /** The share of {@code bytes} that goes to the other members of a group. */
    private static long others(long bytes, int members) {
        return bytes / members * (members - 1);
    }
}
