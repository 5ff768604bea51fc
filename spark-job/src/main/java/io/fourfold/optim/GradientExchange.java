package io.fourfold.optim;

import io.fourfold.config.GradientConfig;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.Pending;
import io.fourfold.model.GradientListener;
import io.fourfold.model.Parameter;
import io.fourfold.model.ParameterStore;
import io.fourfold.model.Sharding;
import io.fourfold.model.WeightCodes;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * Sums gradients over the replicas bucket by bucket, in the order in which backward completes them, and gathers updated
 * weights likewise. With overlap they travel beside the rank's own work: on a GPU where the groups can do that, else on a
 * communication thread where they may be used by one.
 */
final class GradientExchange implements GradientListener, AutoCloseable {
    private static final int FEWEST_BESIDE = 4;

    private final Backend backend;
    private final List<Bucket> buckets = new ArrayList<>();
    private final Map<String, List<Bucket>> bucketsOf = new HashMap<>();
    private final Map<Bucket, Integer> parametersOf = new HashMap<>();
    private final Map<Bucket, Integer> missing = new HashMap<>();
    private final Set<Bucket> started = new LinkedHashSet<>();
    private final Map<Bucket, Pending> pending = new HashMap<>();
    private final Map<OptimizerShard, CodeExchange> codes = new LinkedHashMap<>();
    private final List<Pending> gathers = new ArrayList<>();
    private final boolean beside;
    private final @Nullable CommunicationThread thread;

    /**
     * @param shards in the order of the kinds; those without replicas or parameters take no part
     */
    GradientExchange(Backend backend, ParameterStore store, List<OptimizerShard> shards, GradientConfig config) {
        this.backend = backend;
        boolean concurrent = true;
        boolean overlaps = true;
        int ranks = 0;
        for (OptimizerShard shard : shards) {
            if (shard.replicas().size() > 1 && shard.sharding().buckets() > 0) {
                concurrent &= shard.replicas().concurrent();
                overlaps &= shard.replicas().overlaps();
                ranks = Math.max(ranks, shard.replicas().size());
                cut(shard, store, config);
                WeightCodes coded = store.codes().of(shard.kind());
                if (coded != null) {
                    codes.put(shard, new CodeExchange(backend, shard, coded));
                }
            }
        }
        missing.putAll(parametersOf);
        beside = config.overlap() && overlaps && ranks > 1;
        thread = config.overlap() && !beside && concurrent && ranks > 1
                ? new CommunicationThread(Thread.currentThread().getName() + "-gradients")
                : null;
    }

    /** Backward completes the last declared parameters first. */
    private void cut(OptimizerShard shard, ParameterStore store, GradientConfig config) {
        Sharding sharding = shard.sharding();
        for (int index = sharding.buckets() - 1; index >= 0; index--) {
            long from = sharding.from(index);
            long end = sharding.to(index);
            Bucket bucket = new Bucket(shard, index, config.format());
            buckets.add(bucket);
            int parameters = 0;
            for (Parameter parameter : store.parameters()) {
                if (parameter.kind() == shard.kind()
                        && parameter.offset() < end
                        && parameter.offset() + parameter.elements() > from) {
                    bucketsOf
                            .computeIfAbsent(parameter.name(), name -> new ArrayList<>())
                            .add(bucket);
                    parameters++;
                }
            }
            parametersOf.put(bucket, parameters);
        }
    }

    @Override
    public void complete(Parameter parameter) {
        if (thread == null && !beside) {
            return;
        }
        for (Bucket bucket : bucketsOf.getOrDefault(parameter.name(), List.of())) {
            if (missing.merge(bucket, -1, Integer::sum) == 0) {
                start(bucket);
            }
        }
    }

    /** On a GPU fewer buckets travel faster than a micro-batch is launched piece by piece, so it may be one graph. */
    @Override
    public boolean listensDuringBackward() {
        return thread != null || beside && buckets.size() >= FEWEST_BESIDE;
    }

    private void start(Bucket bucket) {
        started.add(bucket);
        bucket.prepare(backend);
        if (beside) {
            pending.put(bucket, bucket.start());
        } else if (thread != null) {
            thread.submit(bucket::reduce);
        } else {
            bucket.reduce();
            bucket.finish(backend);
        }
    }

    /** Starts what is not under way and waits for everything; the shards then hold the sums. Collective. */
    void finish() {
        for (Bucket bucket : buckets) {
            if (!started.contains(bucket)) {
                start(bucket);
            }
        }
        if (thread != null) {
            thread.await();
        }
        if (thread != null || beside) {
            for (Bucket bucket : started) {
                pending.getOrDefault(bucket, Pending.DONE).await();
                bucket.finish(backend);
            }
        }
        pending.clear();
        started.clear();
        missing.putAll(parametersOf);
    }

    /**
     * Updates this rank's shards and gathers the weights of one bucket while the next ones are updated; collective.
     *
     * @param update updates a part of a bucket's shard
     * @param coded weights that have codes are gathered as those, after the updates of all
     */
    void updateAndGather(BucketUpdate update, boolean coded) {
        for (Bucket bucket : buckets) {
            update.update(bucket);
            CodeExchange some = coded ? codes.get(bucket.shard()) : null;
            communicate(bucket.shard(), some == null ? bucket::gather : () -> bucket.gather(some.exact()));
        }
        if (coded) {
            gatherCodes();
        }
        if (thread != null) {
            thread.await();
        }
        gathers.forEach(Pending::await);
        gathers.clear();
    }

    /** Scales need the largest magnitudes of whole matrices; then each kind's codes travel while the next one's are made. */
    private void gatherCodes() {
        for (CodeExchange exchange : codes.values()) {
            exchange.findLargest();
            if (thread != null) {
                thread.submit(exchange::share);
            } else {
                exchange.share(); // not behind the gathers on their way
            }
        }
        if (thread != null) {
            thread.await();
        }
        for (CodeExchange exchange : codes.values()) {
            exchange.encode();
            exchange.gathers().forEach(gather -> communicate(exchange.shard(), gather));
        }
    }

    /** Beside this rank's work where that is possible, else now. */
    private void communicate(OptimizerShard shard, Runnable collectives) {
        if (beside) {
            gathers.add(shard.replicas().start(collectives));
        } else if (thread != null) {
            thread.submit(collectives);
        } else {
            collectives.run();
        }
    }

    /** Updates the weights of this rank's part of a bucket. */
    interface BucketUpdate {
        void update(Bucket bucket);
    }

    @Override
    public void close() {
        if (thread != null) {
            thread.close();
        }
    }
}
