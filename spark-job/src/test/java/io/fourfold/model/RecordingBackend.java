package io.fourfold.model;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.op.AmaxExchange;
import io.fourfold.kernels.op.AttentionOps;
import io.fourfold.kernels.op.ElementwiseOps;
import io.fourfold.kernels.op.GemmOperand;
import io.fourfold.kernels.op.GemmOps;
import io.fourfold.kernels.op.GroupedOperand;
import io.fourfold.kernels.op.LossOps;
import io.fourfold.kernels.op.MoeOps;
import io.fourfold.kernels.op.NormOps;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OptimizerOps;
import io.fourfold.kernels.op.QuantProbe;
import io.fourfold.kernels.op.QuantizeOps;
import io.fourfold.kernels.op.RandomStream;
import io.fourfold.kernels.op.WeightCodeOps;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** Another backend that remembers the values of every GEMM operand it makes. */
final class RecordingBackend implements Backend {
    /**
     * @param rows of the operand
     * @param depth along which the dot products run
     * @param values [rows, depth], as they enter the product
     */
    record Operand(int rows, int depth, float[] values) {}

    private final Backend backend;
    private final List<Operand> operands = new ArrayList<>();

    RecordingBackend(Backend backend) {
        this.backend = backend;
    }

    /** In the order in which they were made. */
    List<Operand> operands() {
        return operands;
    }

    @Override
    public QuantizeOps quantize() {
        return new Recording();
    }

    @Override
    public WeightCodeOps weightCodes() {
        return backend.weightCodes();
    }

    private final class Recording implements QuantizeOps {
        @Override
        public GemmOperand operand(
                Tensor x,
                boolean byColumns,
                OperandSpec spec,
                @Nullable RandomStream random,
                @Nullable QuantProbe probe,
                @Nullable AmaxExchange exchange,
                TensorScope scope) {
            GemmOperand operand = backend.quantize().operand(x, byColumns, spec, random, probe, exchange, scope);
            try (TensorScope work = backend.scope(Region.WORKSPACE)) {
                Tensor values = work.allocate(DType.FP32, operand.rows(), operand.depth());
                backend.quantize().dequantize(operand, values);
                operands.add(new Operand(operand.rows(), operand.depth(), backend.download(values)));
            }
            return operand;
        }

        @Override
        public GroupedOperand stacked(
                Tensor weights,
                boolean byColumns,
                OperandSpec spec,
                @Nullable QuantProbe probe,
                @Nullable AmaxExchange exchange,
                TensorScope scope) {
            return backend.quantize().stacked(weights, byColumns, spec, probe, exchange, scope);
        }

        @Override
        public GroupedOperand ragged(
                Tensor x,
                Tensor offsets,
                boolean byColumns,
                OperandSpec spec,
                int firstGroup,
                @Nullable RandomStream random,
                @Nullable QuantProbe probe,
                @Nullable AmaxExchange exchange,
                TensorScope scope) {
            return backend.quantize().ragged(x, offsets, byColumns, spec, firstGroup, random, probe, exchange, scope);
        }

        @Override
        public void dequantize(GemmOperand operand, Tensor out) {
            backend.quantize().dequantize(operand, out);
        }
    }

    @Override
    public String description() {
        return backend.description();
    }

    @Override
    public TensorScope scope(Region region) {
        return backend.scope(region);
    }

    @Override
    public void upload(float[] source, Tensor destination) {
        backend.upload(source, destination);
    }

    @Override
    public void upload(int[] source, Tensor destination) {
        backend.upload(source, destination);
    }

    @Override
    public float[] download(Tensor source) {
        return backend.download(source);
    }

    @Override
    public int[] downloadInts(Tensor source) {
        return backend.downloadInts(source);
    }

    @Override
    public ElementwiseOps elementwise() {
        return backend.elementwise();
    }

    @Override
    public GemmOps gemm() {
        return backend.gemm();
    }

    @Override
    public NormOps norm() {
        return backend.norm();
    }

    @Override
    public AttentionOps attention() {
        return backend.attention();
    }

    @Override
    public MoeOps moe() {
        return backend.moe();
    }

    @Override
    public LossOps loss() {
        return backend.loss();
    }

    @Override
    public OptimizerOps optimizer() {
        return backend.optimizer();
    }

    @Override
    public void close() {
        backend.close();
    }
}
