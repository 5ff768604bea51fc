package io.fourfold.hf;

import io.fourfold.checkpoint.GlobalTensorSource;
import io.fourfold.checkpoint.Quantity;
import io.fourfold.checkpoint.ShardLayout;
import io.fourfold.checkpoint.TensorSection;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.AbstractList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** The tensors of a source as sections of a checkpoint, each read when it is asked for and released with the next one. */
final class TensorSections extends AbstractList<TensorSection> implements AutoCloseable {
    private final GlobalTensorSource source;
    private final Backend backend;
    private final List<String> names;
    private @Nullable TensorScope scope;

    TensorSections(GlobalTensorSource source, Backend backend) {
        this.source = source;
        this.backend = backend;
        this.names = List.copyOf(source.names());
    }

    @Override
    public TensorSection get(int index) {
        close();
        String name = names.get(index);
        float[] values = source.readWhole(name);
        TensorScope fresh = backend.scope(Region.WORKSPACE);
        scope = fresh;
        Tensor tensor = fresh.allocate(DType.FP32, values.length);
        backend.upload(values, tensor);
        return new TensorSection(Quantity.WEIGHT, ShardLayout.whole(name, source.shape(name)), tensor);
    }

    @Override
    public int size() {
        return names.size();
    }

    @Override
    public void close() {
        if (scope != null) {
            scope.close();
            scope = null;
        }
    }
}
