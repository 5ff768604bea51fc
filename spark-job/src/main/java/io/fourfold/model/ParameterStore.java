package io.fourfold.model;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.ArrayList;
import java.util.Collections;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * All parameters of one rank in flat buffers a kind (master weights, FP32 gradients), so that communication and the
 * optimizer see long vectors instead of tensors. Also holds the few state tensors that no gradient moves.
 *
 * <p>Layers {@link Builder#declare} their parameters; {@link Builder#build} allocates and hands out views. Each buffer is
 * padded to {@code padTo} elements so that it splits evenly over the optimizer's shards.
 */
public final class ParameterStore implements AutoCloseable {
    private static final int SHARD_ALIGNMENT = 16;
    private static final int MOST_CLEARED_BETWEEN = 1 << 16;

    private final long bucketElements;
    private final TensorScope weightScope;
    private final TensorScope gradScope;
    private final Map<Parameter.Kind, MasterWeights> masters = new EnumMap<>(Parameter.Kind.class);
    private final Map<Parameter.Kind, Tensor> grads = new EnumMap<>(Parameter.Kind.class);
    private final Map<String, Parameter> parameters = new LinkedHashMap<>();
    private final Map<String, Tensor> state = new LinkedHashMap<>();
    private boolean gradientsNeeded;
    private GradientSquares gradientSquares = new GradientSquares(null, Map.of());
    private final WeightMagnitudes weightMagnitudes = new WeightMagnitudes();
    private GatheredCodes codes = GatheredCodes.none();

    private ParameterStore(Backend backend, long bucketElements) {
        this.bucketElements = bucketElements;
        weightScope = backend.scope(Region.PARAMETERS);
        gradScope = backend.scope(Region.GRADIENTS);
    }

    /** Flat buffers are multiples of this, so that every rank's shard of them starts aligned. */
    static int alignment(int ranks) {
        return ranks * SHARD_ALIGNMENT;
    }

    /** Elements of a flat buffer that holds {@code elements} and is split over {@code ranks}. */
    public static long padded(long elements, int ranks) {
        int multiple = alignment(ranks);
        return (elements + multiple - 1) / multiple * multiple;
    }

    /** The whole flat weight buffer of a kind, padding (zeros) included; may be empty. BF16 where masters are split. */
    public Tensor flatWeights(Parameter.Kind kind) {
        return masters(kind).weights();
    }

    /** How a kind's buffer is divided over the optimizers of {@code ranks}, a divisor of its elements. */
    public Sharding sharding(Parameter.Kind kind, int ranks) {
        return Sharding.of(flatWeights(kind).elements(), ranks, bucketElements);
    }

    /** The FP32 master weights of a kind. */
    public MasterWeights masters(Parameter.Kind kind) {
        return Objects.requireNonNull(masters.get(kind));
    }

    /** The weights that may be gathered as codes. */
    public GatheredCodes codes() {
        return codes;
    }

    /** Replaces a parameter's weights from its element {@code from} on by FP32 numbers of the host. */
    public void setWeights(Backend backend, Parameter parameter, long from, float[] values) {
        weightMagnitudes.forget(parameter.kind());
        masters(parameter.kind()).set(backend, parameter.offset() + from, values);
    }

    /** The same by a FP32 tensor. */
    public void setWeights(Backend backend, Parameter parameter, long from, Tensor values) {
        weightMagnitudes.forget(parameter.kind());
        masters(parameter.kind()).set(backend, parameter.offset() + from, values);
    }

    /** The whole flat gradient buffer of a kind. */
    public Tensor flatGrads(Parameter.Kind kind) {
        return Objects.requireNonNull(grads.get(kind));
    }

    /** Squared norms of expert gradients, where the builder was told to keep them. */
    public GradientSquares gradientSquares() {
        return gradientSquares;
    }

    /** Largest magnitudes of weights, where the builder was told to keep them. */
    public WeightMagnitudes weightMagnitudes() {
        return weightMagnitudes;
    }

    /**
     * Zeroes the gradients.
     *
     * @param overwritten names of parameters to leave out, because their layer writes the step's first gradient
     */
    void clearGradients(Backend backend, Set<String> overwritten) {
        gradientsNeeded = true;
        for (Parameter.Kind kind : Parameter.Kind.values()) {
            long from = 0;
            long to = 0;
            for (Parameter parameter : parameters.values()) {
                if (parameter.kind() != kind || overwritten.contains(parameter.name())) {
                    continue;
                }
                if (to == 0 || parameter.offset() - to > MOST_CLEARED_BETWEEN) {
                    clearGradients(backend, kind, from, to);
                    from = parameter.offset();
                }
                to = parameter.offset() + parameter.elements();
            }
            clearGradients(backend, kind, from, to);
        }
    }

    /** One call for neighbours, and what little is between them: norms are many and small. */
    private void clearGradients(Backend backend, Parameter.Kind kind, long from, long to) {
        if (from < to) {
            backend.elementwise().fill(flatGrads(kind).view(from, Shape.flat(to - from)), 0f);
        }
    }

    /** The optimizer has read the gradients: nobody needs them any more, and their memory may be used until the next step. */
    public void releaseGradients() {
        gradientsNeeded = false;
    }

    /** True from the beginning of a step until the optimizer has read the gradients. */
    boolean gradientsNeeded() {
        return gradientsNeeded;
    }

    /** In declaration order. */
    public List<Parameter> parameters() {
        return List.copyOf(parameters.values());
    }

    public Parameter get(String name) {
        Parameter parameter = parameters.get(name);
        if (parameter == null) {
            throw new IllegalArgumentException("no parameter " + name);
        }
        return parameter;
    }

    /** State saved in checkpoints but not trained, by canonical global name; replicated on every rank that has it. */
    public Map<String, Tensor> state() {
        return Collections.unmodifiableMap(state);
    }

    /** Where layers put small tensors that never change and live as long as the parameters. */
    TensorScope constants() {
        return weightScope;
    }

    @Override
    public void close() {
        gradScope.close();
        weightScope.close();
    }

    /** Collects declarations. */
    public static final class Builder {
        private record Declared(
                String name, Parameter.Kind kind, Shape shape, boolean decay, boolean copy, List<Piece> pieces) {}

        private final List<Declared> declared = new ArrayList<>();
        private final Map<String, Shape> state = new LinkedHashMap<>();
        private boolean splitMasters;
        private boolean keepGradientSquares;
        private boolean keepWeightMagnitudes;
        private @Nullable CodedWeights coded;
        private long bucketElements = Long.MAX_VALUE;

        /** Keeps squared norms of expert gradients; for ranks whose expert gradients no other rank adds to. */
        Builder keepGradientSquares() {
            keepGradientSquares = true;
            return this;
        }

        /** Keeps the largest magnitudes of the weights of linear layers; for formats with a scale for a whole weight. */
        public Builder keepWeightMagnitudes() {
            keepWeightMagnitudes = true;
            return this;
        }

        /** Makes room for the codes of weights that are split over several ranks' optimizers. */
        Builder code(CodedWeights weights) {
            coded = weights;
            return this;
        }

        /**
         * Cuts the buffers into buckets, which gradients and weights travel in and which the optimizer's shards have slices
         * of; without, each is one.
         *
         * @param most elements of a bucket
         */
        public Builder buckets(long most) {
            bucketElements = most;
            return this;
        }

        /** Splits the masters of linear layers, which multiply with BF16 weights; replicated ones stay FP32. */
        public Builder splitMasters() {
            splitMasters = true;
            return this;
        }

        public Builder declare(String name, Parameter.Kind kind, Shape shape, boolean decay, List<Piece> pieces) {
            return declare(name, kind, shape, decay, false, pieces);
        }

        /**
         * @param copy see {@link Parameter#copy}
         */
        Builder declare(
                String name, Parameter.Kind kind, Shape shape, boolean decay, boolean copy, List<Piece> pieces) {
            long covered = pieces.stream().mapToLong(Piece::elements).sum();
            if (covered != shape.elements()) {
                throw new IllegalArgumentException(
                        "pieces of " + name + " cover " + covered + " of " + shape.elements() + " elements");
            }
            declared.add(new Declared(name, kind, shape, decay, copy, pieces));
            return this;
        }

        /** Declares zero-initialised FP32 state of the given canonical name. */
        public Builder declareState(String name, Shape shape) {
            state.put(name, shape);
            return this;
        }

        /**
         * @param padTo multiples to pad each kind's buffer to
         */
        public ParameterStore build(Backend backend, Map<Parameter.Kind, Integer> padTo) {
            return build(backend, padTo, Map.of());
        }

        /**
         * @param padTo multiples to pad each kind's buffer to
         * @param replicas the ranks over which each kind's optimizer state is split; without one, this rank keeps all
         */
        public ParameterStore build(
                Backend backend, Map<Parameter.Kind, Integer> padTo, Map<Parameter.Kind, Communicator> replicas) {
            ParameterStore store = new ParameterStore(backend, bucketElements);
            for (Parameter.Kind kind : Parameter.Kind.values()) {
                long used = declared.stream()
                        .filter(d -> d.kind == kind)
                        .mapToLong(d -> d.shape.elements())
                        .sum();
                int pad = padTo.getOrDefault(kind, 1);
                Shape size = Shape.flat((used + pad - 1) / pad * pad);
                store.masters.put(kind, masters(kind, size.elements(), replicas.get(kind), store.weightScope));
                store.grads.put(kind, store.gradScope.zeros(DType.FP32, size));
            }
            Map<Parameter.Kind, Long> next = new EnumMap<>(Parameter.Kind.class);
            for (Declared d : declared) {
                long offset = next.getOrDefault(d.kind, 0L);
                Parameter parameter = new Parameter(
                        d.name,
                        d.kind,
                        offset,
                        store.flatWeights(d.kind).view(offset, d.shape),
                        store.flatGrads(d.kind).view(offset, d.shape),
                        d.decay,
                        d.copy,
                        d.pieces);
                if (store.parameters.put(d.name, parameter) != null) {
                    throw new IllegalArgumentException("parameter " + d.name + " declared twice");
                }
                next.put(d.kind, offset + d.shape.elements());
            }
            state.forEach((name, shape) -> store.state.put(name, store.weightScope.zeros(DType.FP32, shape)));
            if (coded != null) {
                store.codes = coded.allocate(this, replicas, store.weightScope);
            }
            if (keepGradientSquares) {
                store.gradientSquares = squares(store.gradScope);
            }
            if (keepWeightMagnitudes) {
                keepMagnitudes(store, Parameter.Kind.DENSE);
                keepMagnitudes(store, Parameter.Kind.EXPERT);
            }
            return store;
        }

        private static void keepMagnitudes(ParameterStore store, Parameter.Kind kind) {
            Map<Parameter, Integer> groups = new LinkedHashMap<>();
            for (Parameter parameter : store.parameters.values()) {
                if (parameter.kind() == kind) {
                    Shape shape = parameter.weight().shape();
                    groups.put(parameter, shape.rank() == 3 ? shape.dim(0) : 1);
                }
            }
            int count = groups.values().stream().mapToInt(Integer::intValue).sum();
            if (count > 0) {
                store.weightMagnitudes.keep(kind, groups, store.weightScope.zeros(DType.FP32, Shape.of(count)));
            }
        }

        /** How a kind's buffer of so many elements will be divided over the optimizers of {@code ranks}. */
        Sharding sharding(long elements, int ranks) {
            return Sharding.of(elements, ranks, bucketElements);
        }

        /** The parameters of a kind where they will lie in its flat buffer. */
        List<CodeLayout.Weight> places(Parameter.Kind kind) {
            List<CodeLayout.Weight> places = new ArrayList<>();
            long offset = 0;
            for (Declared d : declared) {
                if (d.kind == kind) {
                    places.add(new CodeLayout.Weight(d.name, offset, d.shape));
                    offset += d.shape.elements();
                }
            }
            return places;
        }

        private GradientSquares squares(TensorScope scope) {
            Map<String, Integer> groups = new LinkedHashMap<>();
            for (Declared d : declared) {
                if (d.kind == Parameter.Kind.EXPERT) {
                    groups.put(d.name, d.shape.dim(0));
                }
            }
            int count = groups.values().stream().mapToInt(Integer::intValue).sum();
            return new GradientSquares(count == 0 ? null : scope.zeros(DType.FP32, Shape.of(count)), groups);
        }

        private MasterWeights masters(
                Parameter.Kind kind, long elements, @Nullable Communicator replicas, TensorScope scope) {
            if (!splitMasters || kind == Parameter.Kind.REPLICATED) {
                return MasterWeights.plain(elements, scope);
            }
            Sharding sharding = sharding(elements, replicas == null ? 1 : replicas.size());
            return MasterWeights.split(sharding, replicas == null ? 0 : replicas.rank(), scope);
        }
    }
}
