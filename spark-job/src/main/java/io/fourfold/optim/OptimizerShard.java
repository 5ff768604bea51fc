package io.fourfold.optim;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.op.AdamWStep;
import io.fourfold.kernels.op.SegmentAmax;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import io.fourfold.model.Fp32Values;
import io.fourfold.model.GradientSquares;
import io.fourfold.model.Parameter;
import io.fourfold.model.ParameterStore;
import io.fourfold.model.WeightMagnitudes;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/** This rank's part of the flat buffer of one kind: equal parts over the ranks that hold the same parameters. */
final class OptimizerShard {
    /** A parameter's elements {@code [from, to)} within the shard. */
    private record Segment(Parameter parameter, long from, long to) {}

    /** Elements {@code [from, to)} of the shard that decay alike. */
    private record Run(long from, long to, boolean decay) {
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
    private final long first;
    private final long length;
    private final Fp32Values weights;
    private final Tensor grads;
    private final Tensor moment1;
    private final Tensor moment2;
    private final List<Segment> segments = new ArrayList<>();
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
        length = flatWeights.elements() / replicas.size();
        first = length * replicas.rank();
        Shape shape = Shape.flat(length);
        weights = store.masters(kind).part(first, length);
        grads = replicas.size() == 1 ? flatGrads : gradients.zeros(DType.FP32, shape);
        moment1 = moments.zeros(DType.FP32, shape);
        moment2 = moments.zeros(DType.FP32, shape);
        for (Parameter parameter : store.parameters()) {
            if (parameter.kind() == kind) {
                long from = Math.max(parameter.offset(), first) - first;
                long to = Math.min(parameter.offset() + parameter.elements(), first + length) - first;
                if (from < to) {
                    segments.add(new Segment(parameter, from, to));
                }
            }
        }
        starts = new long[segments.isEmpty() ? 0 : segments.size() + 1];
        for (int i = 0; i < segments.size(); i++) {
            starts[i] = segments.get(i).from();
            starts[i + 1] = segments.get(i).to();
        }
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

    /** The summed gradients of this rank's part. */
    Tensor grads() {
        return grads;
    }

    long first() {
        return first;
    }

    long length() {
        return length;
    }

    Communicator replicas() {
        return replicas;
    }

    /** The master weights of this rank's part. */
    Fp32Values weights() {
        return weights;
    }

    /** What the replicas need of {@link #weights()}: all of plain masters, the BF16 weights of split ones. */
    Tensor gathered() {
        return weights.values();
    }

    Tensor moment1() {
        return moment1;
    }

    Tensor moment2() {
        return moment2;
    }

    /**
     * Squared norms under way.
     *
     * @param sums on the device
     * @param norms of the segments in their order from the sums on the host, zero for a copy that is counted elsewhere
     */
    record SquaredNorms(Tensor sums, Function<float[], double[]> norms) {}

    /**
     * Starts to compute the squared norm of each segment.
     *
     * @param scope where the sums go
     * @return null when there is no segment
     */
    @Nullable
    SquaredNorms squaredNorms(TensorScope scope) {
        if (segments.isEmpty()) {
            return null;
        }
        GradientSquares known = store.gradientSquares();
        if (kind == Parameter.Kind.EXPERT && replicas.size() == 1 && known.complete()) {
            return new SquaredNorms(Objects.requireNonNull(known.all()), host -> {
                Map<String, Double> squares = known.ofParameters(host);
                return segments.stream()
                        .mapToDouble(segment -> Objects.requireNonNull(
                                squares.get(segment.parameter().name())))
                        .toArray();
            });
        }
        Tensor sums = scope.zeros(DType.FP32, segments.size());
        backend.optimizer().addSquaredNorms(grads, starts, sums);
        return new SquaredNorms(sums, host -> {
            double[] squares = new double[host.length];
            for (int i = 0; i < host.length; i++) {
                squares[i] = segments.get(i).parameter().copy() ? 0 : host[i];
            }
            return squares;
        });
    }

    String parameterName(int segment) {
        return segments.get(segment).parameter().name();
    }

    /** Updates this rank's whole part, see {@link #update(AdamWStep, long, long)}. */
    void update(AdamWStep step) {
        WeightMagnitudes magnitudes = store.weightMagnitudes();
        if (replicas.size() > 1 || !magnitudes.keeps(kind)) {
            update(step, 0, length);
            return;
        }
        magnitudes.begin(backend, kind);
        List<Run> runs = runs(0, length);
        if (largest.isEmpty()) {
            runs.forEach(run -> largest.add(magnitudes.segments(kind, run.from(), run.to())));
        }
        for (int i = 0; i < runs.size(); i++) {
            Run run = runs.get(i);
            backend.optimizer()
                    .adamW(
                            weights.view(run.from(), run.to() - run.from()).values(),
                            run.of(grads),
                            run.of(moment1),
                            run.of(moment2),
                            run.decay() ? step : step.withoutDecay(),
                            largest.get(i));
        }
        magnitudes.complete(kind);
    }

    /** Updates elements {@code [begin, end)} of this rank's part: one call for each run of segments that decay alike. */
    void update(AdamWStep step, long begin, long end) {
        store.weightMagnitudes().forget(kind);
        for (Run run : runs(begin, end)) {
            Fp32Values updated = weights.view(run.from(), run.to() - run.from());
            backend.optimizer()
                    .adamW(
                            updated.values(),
                            updated.remainder(),
                            run.of(grads),
                            run.of(moment1),
                            run.of(moment2),
                            run.decay() ? step : step.withoutDecay());
        }
    }

    private List<Run> runs(long begin, long end) {
        List<Run> runs = new ArrayList<>();
        for (int i = 0; i < segments.size(); ) {
            boolean decay = segments.get(i).parameter().decay();
            long from = Math.max(begin, segments.get(i).from());
            long to = segments.get(i).to();
            for (i++; i < segments.size() && segments.get(i).parameter().decay() == decay; i++) {
                to = segments.get(i).to();
            }
            to = Math.min(to, end);
            if (from < to) {
                runs.add(new Run(from, to, decay));
            }
        }
        return runs;
    }

    /** Brings every replica's part of the weights to this rank. */
    void gatherWeights() {
        store.weightMagnitudes().forget(kind);
        if (replicas.size() > 1 && length > 0) {
            replicas.allGather(gathered(), flatWeights);
        }
    }
}
