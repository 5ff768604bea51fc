package io.fourfold.optim;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.op.AdamWStep;
import io.fourfold.kernels.op.SegmentAmax;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import io.fourfold.model.Fp32Parts;
import io.fourfold.model.Fp32Values;
import io.fourfold.model.GradientSquares;
import io.fourfold.model.Parameter;
import io.fourfold.model.ParameterStore;
import io.fourfold.model.Sharding;
import io.fourfold.model.WeightMagnitudes;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** This rank's shard of the flat buffer of one kind, which is divided over the ranks that hold the same parameters. */
final class OptimizerShard {
    /** A parameter's elements {@code [from, to)} within the shard. */
    private record Segment(Parameter parameter, long from, long to) {}

    /** Elements {@code [from, to)} of the shard that decay alike, and their masters. */
    private record Run(long from, long to, boolean decay, Fp32Values weights) {
        Tensor of(Tensor flat) {
            return flat.view(from, Shape.flat(to - from));
        }
    }

    private final Backend backend;
    private final Communicator replicas;
    private final ParameterStore store;
    private final Parameter.Kind kind;
    private final Tensor flatWeights;
    private final Tensor flatGrads;
    private final Sharding sharding;
    /** The masters of this rank's slice of each bucket. */
    private final List<Fp32Values> weights = new ArrayList<>();

    private final Tensor grads;
    private final Tensor moment1;
    private final Tensor moment2;
    private final List<Segment> segments = new ArrayList<>();
    /** Of each slice. */
    private final List<List<Run>> runs = new ArrayList<>();
    /** First element of each segment, and the end of the last: segments follow each other without gaps. */
    private final long[] starts;
    /** Where the update of each run of the whole shard tells the largest magnitudes; filled by the first. */
    private final List<SegmentAmax> largest = new ArrayList<>();

    OptimizerShard(
            Backend backend,
            ParameterStore store,
            Parameter.Kind kind,
            Communicator replicas,
            TensorScope moments,
            TensorScope gradients) {
        this.backend = backend;
        this.store = store;
        this.kind = kind;
        this.replicas = replicas;
        flatWeights = store.flatWeights(kind);
        flatGrads = store.flatGrads(kind);
        if (flatWeights.elements() % replicas.size() != 0) {
            throw new IllegalArgumentException("the flat " + kind + " buffer of " + flatWeights.elements()
                    + " elements does not split over " + replicas.size() + " ranks of " + replicas.name()
                    + "; build the parameter store with that padding");
        }
        sharding = store.sharding(kind, replicas.size());
        Shape shape = Shape.flat(sharding.shard());
        grads = replicas.size() == 1 ? flatGrads : gradients.zeros(DType.FP32, shape);
        moment1 = moments.zeros(DType.FP32, shape);
        moment2 = moments.zeros(DType.FP32, shape);
        for (Sharding.Slice slice : sharding.slices(replicas.rank())) {
            Fp32Values masters = store.masters(kind).part(slice.from(), slice.elements());
            weights.add(masters);
            runs.add(addSegments(slice, masters));
        }
        starts = new long[segments.isEmpty() ? 0 : segments.size() + 1];
        for (int i = 0; i < segments.size(); i++) {
            starts[i] = segments.get(i).from();
            starts[i + 1] = segments.get(i).to();
        }
    }

    /** Parameters are in the order of the flat buffer, and only its end is padding. */
    private List<Run> addSegments(Sharding.Slice slice, Fp32Values masters) {
        List<Run> alike = new ArrayList<>();
        for (Parameter parameter : store.parameters()) {
            if (parameter.kind() != kind) {
                continue;
            }
            long from = Math.max(parameter.offset(), slice.from()) - slice.from();
            long to = Math.min(parameter.offset() + parameter.elements(), slice.to()) - slice.from();
            if (from < to) {
                segments.add(new Segment(parameter, slice.at() + from, slice.at() + to));
                int last = alike.size() - 1;
                if (last >= 0 && alike.get(last).decay() == parameter.decay()) {
                    from = alike.remove(last).from() - slice.at();
                }
                alike.add(
                        new Run(slice.at() + from, slice.at() + to, parameter.decay(), masters.view(from, to - from)));
            }
        }
        return alike;
    }

    Parameter.Kind kind() {
        return kind;
    }

    Tensor flatWeights() {
        return flatWeights;
    }

    Tensor flatGrads() {
        return flatGrads;
    }

    /** The summed gradients of this rank's shard. */
    Tensor grads() {
        return grads;
    }

    Sharding sharding() {
        return sharding;
    }

    /** This rank's part of a bucket. */
    Sharding.Slice slice(int bucket) {
        return sharding.slice(bucket, replicas.rank());
    }

    Communicator replicas() {
        return replicas;
    }

    /** The master weights of this rank's shard. */
    Fp32Parts weights() {
        return new Fp32Parts(weights);
    }

    Tensor moment1() {
        return moment1;
    }

    Tensor moment2() {
        return moment2;
    }

    /** How many stretches of the shard belong to one parameter each. */
    int segments() {
        return segments.size();
    }

    /** The parameter of a segment. */
    Parameter parameter(int segment) {
        return segments.get(segment).parameter();
    }

    /** The squared norms of this kind's gradients where they were taken as those were written; else null. */
    @Nullable
    GradientSquares knownSquares() {
        GradientSquares known = store.gradientSquares();
        return kind == Parameter.Kind.EXPERT && replicas.size() == 1 && known.complete() ? known : null;
    }

    /**
     * Sums the squares of each segment.
     *
     * @param out INT32 [segments, {@value io.fourfold.kernels.numeric.ExactSum#INTS}]
     */
    void sumSquares(Tensor out) {
        backend.optimizer().sumSquares(grads, starts, out);
    }

    /** Updates the whole buffer of a kind that has no replicas. */
    void updateAll(AdamWStep step) {
        WeightMagnitudes magnitudes = store.weightMagnitudes();
        if (sharding.buckets() != 1 || !magnitudes.keeps(kind)) {
            for (int bucket = 0; bucket < sharding.buckets(); bucket++) {
                update(step, bucket);
            }
            return;
        }
        magnitudes.begin(backend, kind);
        List<Run> all = runs.get(0);
        if (largest.isEmpty()) {
            all.forEach(run -> largest.add(magnitudes.segments(kind, run.from(), run.to())));
        }
        for (int i = 0; i < all.size(); i++) {
            Run run = all.get(i);
            backend.optimizer()
                    .adamW(
                            run.weights().values(),
                            run.of(grads),
                            run.of(moment1),
                            run.of(moment2),
                            run.decay() ? step : step.withoutDecay(),
                            largest.get(i));
        }
        magnitudes.complete(kind);
    }

    /** Updates this rank's slice of a bucket: one call for each run of segments that decay alike. */
    void update(AdamWStep step, int bucket) {
        store.weightMagnitudes().forget(kind);
        for (Run run : runs.get(bucket)) {
            backend.optimizer()
                    .adamW(
                            run.weights().values(),
                            run.weights().remainder(),
                            run.of(grads),
                            run.of(moment1),
                            run.of(moment2),
                            run.decay() ? step : step.withoutDecay());
        }
    }

    /**
     * Brings every replica's slice of a bucket of the weights, those that products read, to this rank; collective. Only moves
     * memory.
     */
    void gather(int bucket) {
        Sharding.Slice own = slice(bucket);
        Shape whole = Shape.flat(own.elements() * replicas.size());
        replicas.allGather(
                flatWeights.view(own.from(), Shape.flat(own.elements())),
                flatWeights.view(sharding.from(bucket), whole));
    }

    /** Brings every replica's part of the weights to this rank. */
    void gatherWeights() {
        store.weightMagnitudes().forget(kind);
        for (int bucket = 0; bucket < sharding.buckets() && replicas.size() > 1; bucket++) {
            gather(bucket);
        }
    }
}
