package io.fourfold.optim;

import io.fourfold.config.GradientConfig;
import io.fourfold.config.TrainConfig;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.op.AdamWStep;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import io.fourfold.model.Fp32Parts;
import io.fourfold.model.GradientListener;
import io.fourfold.model.Parameter;
import io.fourfold.model.ParameterStore;
import io.fourfold.model.Sharding;
import io.fourfold.parallel.ProcessGroups;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/**
 * AdamW with decoupled weight decay (arXiv:1711.05101) whose FP32 moments exist once over the ranks that hold the same
 * parameters (ZeRO-1, arXiv:1910.02054), see {@link Parameter.Kind}. A step is: {@link #reduceGradients},
 * {@link #gradientNorm}, then {@link #step}.
 *
 * <p>Gradients come scaled by 1 / (counted labels of the global batch), so reductions are plain sums, those of experts too.
 * Everything is summed in a fixed order: the same inputs give the same bits.
 */
public final class ShardedAdamW implements AutoCloseable {
    private final Backend backend;
    private final TrainConfig.OptimizerConfig config;
    private final Communicator world;
    private final ParameterStore store;
    private final TensorScope moments;
    private final TensorScope gradients;
    private final Map<Parameter.Kind, OptimizerShard> shards = new EnumMap<>(Parameter.Kind.class);
    private final GradientExchange exchange;

    /** Over the groups of a mapping. */
    public ShardedAdamW(
            Backend backend, ParameterStore store, TrainConfig.OptimizerConfig config, ProcessGroups groups) {
        this(backend, store, config, GradientConfig.PLAIN, groups);
    }

    /** Over the groups of a mapping, with another way of summing gradients. */
    public ShardedAdamW(
            Backend backend,
            ParameterStore store,
            TrainConfig.OptimizerConfig config,
            GradientConfig summing,
            ProcessGroups groups) {
        this(backend, store, config, summing, replicas(groups), groups.world());
    }

    /**
     * @param replicas for each kind the ranks that hold the same parameters of it
     * @param world all ranks
     */
    public ShardedAdamW(
            Backend backend,
            ParameterStore store,
            TrainConfig.OptimizerConfig config,
            Map<Parameter.Kind, Communicator> replicas,
            Communicator world) {
        this(backend, store, config, GradientConfig.PLAIN, replicas, world);
    }

    private ShardedAdamW(
            Backend backend,
            ParameterStore store,
            TrainConfig.OptimizerConfig config,
            GradientConfig summing,
            Map<Parameter.Kind, Communicator> replicas,
            Communicator world) {
        this.backend = backend;
        this.config = config;
        this.world = world;
        this.store = store;
        moments = backend.scope(Region.OPTIMIZER);
        gradients = backend.scope(Region.GRADIENTS);
        for (Parameter.Kind kind : Parameter.Kind.values()) {
            Communicator group = Objects.requireNonNull(replicas.get(kind), () -> "no group for " + kind);
            shards.put(kind, new OptimizerShard(backend, store, kind, group, moments, gradients));
        }
        store.codes().gatherWith(this::gatherWeights);
        exchange = new GradientExchange(backend, store, List.copyOf(shards.values()), summing);
    }

    /** To be told which gradients are complete; their sums then start early when overlap is on. */
    public GradientListener listener() {
        return exchange;
    }

    private static Map<Parameter.Kind, Communicator> replicas(ProcessGroups groups) {
        Map<Parameter.Kind, Communicator> replicas = new EnumMap<>(Parameter.Kind.class);
        for (Parameter.Kind kind : Parameter.Kind.values()) {
            replicas.put(kind, groups.get(kind.replicas()));
        }
        return replicas;
    }

    /** Sums gradients over the replicas; this rank then holds its shard of the sum. */
    public void reduceGradients() {
        exchange.finish();
    }

    /**
     * Norm over all parameters of all ranks, the same value on each, and the same however they are divided over the ranks.
     * Call after {@link #reduceGradients}.
     */
    public GradientNorm gradientNorm() {
        return NormSum.of(backend, shards.values(), world);
    }

    /**
     * Applies the update to this rank's shard and gathers the weights, or the codes that are all the next step reads of some.
     * The gradients are not needed after it.
     *
     * @param step 1-based
     * @param norm the global norm, finite
     */
    public void step(int step, double learningRate, GradientNorm norm) {
        if (!norm.isFinite()) {
            throw new IllegalArgumentException("gradient norm " + norm.value() + " at step " + step);
        }
        double clip = config.clipNorm();
        float gradScale = clip > 0 && norm.value() > clip ? (float) (clip / norm.value()) : 1f;
        AdamWStep update = new AdamWStep(
                step,
                (float) learningRate,
                (float) config.beta1(),
                (float) config.beta2(),
                (float) config.epsilon(),
                (float) config.weightDecay(),
                gradScale);
        for (OptimizerShard shard : shards.values()) {
            if (shard.replicas().size() == 1) {
                shard.updateAll(update);
            }
        }
        boolean coded = store.codes().serve(step + 1);
        exchange.updateAndGather(bucket -> bucket.shard().update(update, bucket.index()), coded);
        store.codes().setCurrent(coded);
        store.releaseGradients();
    }

    /** Makes the weights of every rank whole from the shards; also needed after shards were loaded. */
    public void gatherWeights() {
        shards.values().forEach(OptimizerShard::gatherWeights);
        store.codes().setCurrent(false);
    }

    /** Which slices of the flat buffer of the kind this rank's shard consists of, in its order. */
    public List<Sharding.Slice> slices(Parameter.Kind kind) {
        return shard(kind).sharding().slices(replicas(kind).rank());
    }

    /** This rank's shard of the master weights. */
    public Fp32Parts weights(Parameter.Kind kind) {
        return shard(kind).weights();
    }

    /** First moment of the shard. */
    public Tensor moment1(Parameter.Kind kind) {
        return shard(kind).moment1();
    }

    /** Second moment of the shard. */
    public Tensor moment2(Parameter.Kind kind) {
        return shard(kind).moment2();
    }

    /** The ranks over which the kind's moments are sharded: they hold the same parameters of that kind. */
    public Communicator replicas(Parameter.Kind kind) {
        return shard(kind).replicas();
    }

    @Override
    public void close() {
        exchange.close();
        gradients.close();
        moments.close();
    }

    private OptimizerShard shard(Parameter.Kind kind) {
        return Objects.requireNonNull(shards.get(kind));
    }
}
