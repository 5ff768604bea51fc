package io.fourfold.checkpoint;

import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.model.Fp32Parts;
import io.fourfold.model.Fp32Values;
import java.util.List;

/**
 * A flat vector of FP32 numbers of this rank that a checkpoint stores or restores.
 *
 * @param layout which global elements lie where in it
 */
public record TensorSection(Quantity quantity, ShardLayout layout, Fp32Parts values) {
    /** Of a FP32 tensor. */
    public TensorSection(Quantity quantity, ShardLayout layout, Tensor values) {
        this(quantity, layout, new Fp32Parts(List.of(Fp32Values.plain(values))));
    }
}
