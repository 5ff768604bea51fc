package io.fourfold.model;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.tensor.Lending;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Where the tensors of one micro-batch lie: scopes that say how long they live, counted in gradients that backward writes.
 * The step's first micro-batch writes the gradients of linear layers, from the last block to the first, and does not add to
 * them. Their memory is dead until then, so on a backend that lends, what is gone by then lies there.
 */
final class PassMemory implements AutoCloseable {
    private final Backend backend;
    private final Map<String, Integer> order = new HashMap<>();
    private final List<TensorScope> opened = new ArrayList<>();
    private @Nullable Lending lending;

    private PassMemory(Backend backend, List<Parameter> written) {
        this.backend = backend;
        List<Lending.Range> ranges = new ArrayList<>();
        for (Parameter parameter : written) {
            order.put(parameter.name(), ranges.size());
            ranges.add(new Lending.Range("the gradient of " + parameter.name(), parameter.grad()));
        }
        lending = ranges.isEmpty() ? null : backend.lend(ranges);
    }

    /** Memory of its own for everything. */
    static PassMemory owned(Backend backend) {
        return new PassMemory(backend, List.of());
    }

    /**
     * @param written the parameters whose gradients hold nothing before backward writes them, in its order
     */
    static PassMemory lent(Backend backend, List<Parameter> written) {
        return new PassMemory(backend, written);
    }

    /** A scope that is closed before the parameter's gradient is written. */
    TensorScope keptUntil(Parameter parameter) {
        return open(Region.ACTIVATIONS, order.getOrDefault(parameter.name(), order.size()));
    }

    /** A scope that is closed when the gradients of all of these are written and before any further one is. */
    TensorScope keptThrough(List<Parameter> written) {
        return open(Region.ACTIVATIONS, after(written));
    }

    /** A scope that is closed before backward begins. */
    TensorScope keptInForward() {
        return open(Region.ACTIVATIONS, 0);
    }

    /** As {@link #keptUntil}, for values that die within a backward. */
    TensorScope workUntil(Parameter parameter) {
        return open(Region.WORKSPACE, order.getOrDefault(parameter.name(), order.size()));
    }

    /** All workspace opened from now on is closed before backward begins. */
    void workInForward() {
        workUntil(0);
    }

    /** All workspace opened from now on is closed before any gradient is written but these. */
    void workThrough(List<Parameter> written) {
        workUntil(after(written));
    }

    /** Workspace opened from now on may live as long as it likes. */
    void workFreely() {
        workUntil(order.size());
    }

    private void workUntil(int range) {
        if (lending != null) {
            lending.workspaceUntil(range);
        }
    }

    /** Must be called before the gradient is written for the first time. */
    void reclaim(Parameter parameter) {
        Integer range = order.get(parameter.name());
        if (lending != null && range != null) {
            lending.reclaim(range);
        }
    }

    /** Position of the first gradient that is written after all of these; the end when the order does not have them all. */
    private int after(List<Parameter> written) {
        int last = -1;
        for (Parameter parameter : written) {
            last = Math.max(last, order.getOrDefault(parameter.name(), order.size()));
        }
        return last < 0 ? order.size() : Math.min(last + 1, order.size());
    }

    private TensorScope open(Region region, int until) {
        TensorScope scope = lending == null ? backend.scope(region) : lending.scope(region, until);
        opened.add(scope);
        return scope;
    }

    /** Device bytes that live beyond a layer now. */
    long keptBytes() {
        return opened.stream()
                .filter(scope -> scope.region() == Region.ACTIVATIONS)
                .mapToLong(TensorScope::allocatedBytes)
                .sum();
    }

    /** Releases what is left and ends the lending. */
    @Override
    public void close() {
        opened.forEach(TensorScope::close);
        opened.clear();
        if (lending != null) {
            lending.close();
            lending = null;
        }
    }
}
