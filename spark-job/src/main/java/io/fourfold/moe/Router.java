package io.fourfold.moe;

import io.fourfold.config.MoeConfig;
import io.fourfold.config.RouterConfig;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.ReduceOp;
import io.fourfold.kernels.op.MoeOps;
import io.fourfold.kernels.op.RouterSpec;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import org.jspecify.annotations.Nullable;

/**
 * Chooses experts from router logits, in FP32, and adds the gradients of the router's own losses. The losses' values go
 * into a {@link RouterReport}, from which the host computes them when somebody asks.
 */
public final class Router {
    private final Backend backend;
    private final RouterSpec spec;
    private final RouterConfig config;
    private final CapacityRule capacity;
    private final BalanceLoss balance;
    private final @Nullable Tensor expertBias;
    private final @Nullable Tensor previousLoad;

    /**
     * @param expertBias FP32 [E], state moved by {@link ExpertLoad}; null = none
     * @param previousLoad FP32 [E], the previous step's share of slots per expert, for the global-batch loss; else null
     */
    public Router(Backend backend, MoeConfig moe, @Nullable Tensor expertBias, @Nullable Tensor previousLoad) {
        this.backend = backend;
        this.config = moe.router();
        this.spec = spec(moe);
        this.capacity = new CapacityRule(moe);
        this.balance = new BalanceLoss(moe);
        this.expertBias = expertBias;
        this.previousLoad = previousLoad;
    }

    /** The routing rule of a configuration. */
    public static RouterSpec spec(MoeConfig moe) {
        RouterConfig router = moe.router();
        return new RouterSpec(
                moe.experts(),
                moe.topK(),
                router.score(),
                router.normalize() && router.score() != RouterSpec.Score.TOP_K_SOFTMAX,
                router.groups(),
                router.groupTopK(),
                (float) router.scale());
    }

    /** Groups of tokens in the report of a micro-batch of {@code sequences} sequences. */
    public int groups(int sequences) {
        return balance.perSequence() ? sequences : 1;
    }

    /** True when slots can be dropped. */
    public boolean drops() {
        return capacity.drops();
    }

    /**
     * @param logits FP32 [T, E] of this rank's tokens
     * @param report filled when not null (training)
     * @param scope where the routing lives
     */
    public Routing route(Tensor logits, LocalTokens local, @Nullable RouterReport report, TensorScope scope) {
        MoeOps ops = backend.moe();
        int tokens = local.count();
        Tensor scores = scope.allocate(DType.FP32, tokens, spec.experts());
        Tensor experts = scope.allocate(DType.INT32, tokens, spec.topK());
        Tensor weights = scope.allocate(DType.FP32, tokens, spec.topK());
        Tensor counts = scope.allocate(DType.INT32, spec.experts());
        ops.route(spec, logits, expertBias, scores, experts, weights, counts);
        Tensor kept = experts;
        Tensor keptCounts = counts;
        if (capacity.drops()) {
            kept = scope.allocate(DType.INT32, tokens, spec.topK());
            keptCounts = scope.allocate(DType.INT32, spec.experts());
            capacity.apply(backend, local, experts, weights, kept, keptCounts);
        }
        Routing routing = new Routing(logits, scores, experts, weights, kept, keptCounts, capacity.paddedRows(local));
        if (report != null) {
            count(routing, counts, local, report, scope);
        }
        return routing;
    }

    private void count(Routing routing, Tensor counts, LocalTokens local, RouterReport report, TensorScope scope) {
        if (groups(local.sequences()) == 1) {
            backend.elementwise().copy(counts, report.counts().reshape(spec.experts()));
        } else {
            Tensor perSequence = scope.allocate(DType.INT32, local.sequences(), spec.experts());
            for (int s = 0; s < local.sequences(); s++) {
                Tensor experts = routing.experts().rows(local.from(s), local.to(s));
                backend.moe().countExperts(experts, perSequence.rows(s, s + 1).reshape(spec.experts()));
            }
            backend.elementwise().copy(perSequence, report.counts());
        }
        // Column sums: groups in ascending order. A step's counts are summed over ranks at its end.
        backend.elementwise().biasBackward(report.counts(), report.stepCounts());
        if (local.shared() && balance.enabled() && !balance.global()) {
            local.holders().allReduce(report.counts(), ReduceOp.SUM);
        }
        Tensor keptCounts = scope.allocate(DType.FP32, spec.experts(), 1);
        backend.elementwise().copy(routing.keptCounts(), keptCounts.reshape(spec.experts()));
        backend.elementwise().biasBackward(keptCounts, report.keptRows());
    }

    /**
     * Writes dlogits: the gradient through the chosen weights plus those of the load-balancing and z losses.
     *
     * @param dweights FP32 [T, k]
     * @param share share of the micro-batch in the global batch
     */
    public void backward(
            Routing routing,
            Tensor dweights,
            LocalTokens local,
            float share,
            RouterReport report,
            Tensor dlogits,
            TensorScope work) {
        Tensor dscores = null;
        if (balance.enabled()) {
            dscores = work.zeros(DType.FP32, routing.scores().shape());
            balanceGradient(routing, dscores, local, share, report);
        }
        backend.moe()
                .routeBackward(
                        spec,
                        routing.logits(),
                        routing.scores(),
                        routing.experts(),
                        routing.weights(),
                        dweights,
                        dscores,
                        dlogits);
        if (config.zLossCoeff() > 0) {
            float factor = (float) (config.zLossCoeff() * share / local.total());
            backend.moe().zLoss(routing.logits(), factor, report.zSum(), dlogits);
        }
    }

    private void balanceGradient(Routing routing, Tensor dscores, LocalTokens local, float share, RouterReport report) {
        int groups = groups(local.sequences());
        float factor = (float) balance.factor(local.total() / groups, (double) share / groups);
        for (int g = 0; g < groups; g++) {
            int from = groups == 1 ? 0 : local.from(g);
            int to = groups == 1 ? local.count() : local.to(g);
            Tensor load = balance.global() ? previousLoad : row(report.counts(), g);
            if (from == to) {
                continue; // another rank's sequence
            }
            backend.moe()
                    .balanceLoss(
                            routing.scores().rows(from, to),
                            balance.normalizesScores(),
                            load,
                            factor,
                            dscores.rows(from, to),
                            row(report.scoreSums(), g));
        }
    }

    private Tensor row(Tensor matrix, int i) {
        return matrix.rows(i, i + 1).reshape(spec.experts());
    }

    /**
     * Value of the load-balancing loss of one micro-batch from its report on the host.
     *
     * @param counts [groups, E]
     * @param scoreSums [groups, E]
     * @param load the previous step's share of slots per expert, read for the global-batch loss only
     */
    public double balanceLossValue(
            float[] counts, float[] scoreSums, float[] load, int sequences, int sequenceLength, double share) {
        if (!balance.enabled()) {
            return 0;
        }
        int groups = groups(sequences);
        double factor = balance.factor(sequences * sequenceLength / groups, share / groups);
        double sum = 0;
        for (int i = 0; i < counts.length; i++) {
            sum += (double) (balance.global() ? load[i] : counts[i]) * scoreSums[i];
        }
        return factor * sum;
    }

    /** Value of the z-loss of one micro-batch: coeff times the mean over tokens of logsumexp squared, times share. */
    public double zLossValue(float zSum, int tokens, double share) {
        return config.zLossCoeff() * zSum / tokens * share;
    }

    /** True when the load-balancing loss reads the previous step's load. */
    public static boolean needsPreviousLoad(MoeConfig moe) {
        return new BalanceLoss(moe).global();
    }
}
