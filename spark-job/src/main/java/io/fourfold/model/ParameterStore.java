package io.fourfold.model;

import io.fourfold.kernels.Backend;
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

/**
 * All parameters of one rank in two flat FP32 buffers a kind (weights and gradients), so that communication and the
 * optimizer see long vectors instead of tensors. Also holds the few state tensors that no gradient moves.
 *
 * <p>Layers {@link Builder#declare} their parameters; {@link Builder#build} allocates and hands out views. Each buffer is
 * padded to {@code padTo} elements so that it splits evenly over the optimizer's shards.
 */
public final class ParameterStore implements AutoCloseable {
    private static final int SHARD_ALIGNMENT = 16;

    private final TensorScope weightScope;
    private final TensorScope gradScope;
    private final Map<Parameter.Kind, Tensor> weights = new EnumMap<>(Parameter.Kind.class);
    private final Map<Parameter.Kind, Tensor> grads = new EnumMap<>(Parameter.Kind.class);
    private final Map<String, Parameter> parameters = new LinkedHashMap<>();
    private final Map<String, Tensor> state = new LinkedHashMap<>();
    private final RoundedWeights rounded = new RoundedWeights();
    private boolean gradientsNeeded;

    private ParameterStore(Backend backend) {
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

    /** The whole flat weight buffer of a kind, padding (zeros) included; may be empty. */
    public Tensor flatWeights(Parameter.Kind kind) {
        return Objects.requireNonNull(weights.get(kind));
    }

    /** The whole flat gradient buffer of a kind. */
    public Tensor flatGrads(Parameter.Kind kind) {
        return Objects.requireNonNull(grads.get(kind));
    }

    /** BF16 copies of the masters; empty unless the builder was told to keep them. */
    public RoundedWeights rounded() {
        return rounded;
    }

    /**
     * Zeroes the gradients.
     *
     * @param overwritten names of parameters to leave out, because their layer writes the step's first gradient
     */
    void clearGradients(Backend backend, Set<String> overwritten) {
        gradientsNeeded = true;
        for (Parameter parameter : parameters.values()) {
            if (!overwritten.contains(parameter.name())) {
                backend.elementwise().fill(parameter.grad(), 0f);
            }
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
        private boolean keepRounded;

        /** Keeps BF16 copies of the masters that linear layers multiply with. */
        public Builder keepRounded() {
            keepRounded = true;
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
            ParameterStore store = new ParameterStore(backend);
            for (Parameter.Kind kind : Parameter.Kind.values()) {
                long used = declared.stream()
                        .filter(d -> d.kind == kind)
                        .mapToLong(d -> d.shape.elements())
                        .sum();
                int pad = padTo.getOrDefault(kind, 1);
                Shape size = Shape.flat((used + pad - 1) / pad * pad);
                store.weights.put(kind, store.weightScope.zeros(DType.FP32, size));
                store.grads.put(kind, store.gradScope.zeros(DType.FP32, size));
                if (keepRounded && kind != Parameter.Kind.REPLICATED) {
                    store.rounded.add(kind, size, store.weightScope);
                }
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
            return store;
        }
    }
}
