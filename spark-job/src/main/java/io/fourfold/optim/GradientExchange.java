package io.fourfold.optim;

import io.fourfold.config.GradientConfig;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.Pending;
import io.fourfold.model.GradientListener;
import io.fourfold.model.Parameter;
import io.fourfold.model.ParameterStore;
import java.util.ArrayList;
import java.util.HashMap;
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
    private final Backend backend;
    private final List<Bucket> buckets = new ArrayList<>();
    private final Map<String, List<Bucket>> bucketsOf = new HashMap<>();
    private final Map<Bucket, Integer> parametersOf = new HashMap<>();
    private final Map<Bucket, Integer> missing = new HashMap<>();
    private final Set<Bucket> started = new LinkedHashSet<>();
    private final Map<Bucket, Pending> pending = new HashMap<>();
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
            if (shard.replicas().size() > 1 && shard.length() > 0) {
                concurrent &= shard.replicas().concurrent();
                overlaps &= shard.replicas().overlaps();
                ranks = Math.max(ranks, shard.replicas().size());
                cut(shard, store, config);
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
        long end = shard.length() * shard.replicas().size();
        long largest = config.overlap() ? config.bucketElements() : end;
        while (end > 0) {
            long from = Math.max(0, end - largest);
            Bucket bucket = new Bucket(shard, from, end, config.format());
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
            end = from;
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

    private void start(Bucket bucket) {
        started.add(bucket);
        bucket.prepare(backend);
        if (beside) {
            pending.put(bucket, bucket.shard().replicas().start(bucket::reduce));
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
     */
    void updateAndGather(BucketUpdate update) {
        for (Bucket bucket : buckets) {
            update.update(bucket);
            if (beside) {
                pending.put(bucket, bucket.shard().replicas().start(bucket::gather));
            } else if (thread != null) {
                thread.submit(bucket::gather);
            } else {
                bucket.gather();
            }
        }
        if (thread != null) {
            thread.await();
        }
        buckets.forEach(bucket -> pending.getOrDefault(bucket, Pending.DONE).await());
        pending.clear();
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
