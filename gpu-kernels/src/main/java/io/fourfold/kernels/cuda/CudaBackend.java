package io.fourfold.kernels.cuda;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.RepeatedWork;
import io.fourfold.kernels.comm.CommunicationWorld;
import io.fourfold.kernels.op.AttentionOps;
import io.fourfold.kernels.op.ElementwiseOps;
import io.fourfold.kernels.op.GemmOps;
import io.fourfold.kernels.op.LossOps;
import io.fourfold.kernels.op.MoeOps;
import io.fourfold.kernels.op.NormOps;
import io.fourfold.kernels.op.OptimizerOps;
import io.fourfold.kernels.op.QuantizeOps;
import io.fourfold.kernels.op.WeightCodeOps;
import io.fourfold.kernels.tensor.Lending;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.List;
import java.util.Map;

/**
 * One NVIDIA GPU of compute capability 9.0 (Hopper). Operations are queued on one stream and return at once; only uploads
 * and downloads wait. Memory comes from one arena, see {@link CudaArena}.
 */
public final class CudaBackend implements Backend {
    private final CudaDevice device;
    private final CudaArena arena;
    private final CudaMemory memory;
    private final CudaKernels kernels;
    private final CudaRuntime runtime;
    private final CudaGemmOps gemm;
    private final QuantizeOps quantize;
    private final CudaWeightCodes weightCodes;
    private final CudaElementwiseOps elementwise;
    private final NormOps norm;
    private final CudaAttentionOps attention;
    private final MoeOps moe;
    private final RotaryFrequencies frequencies;
    private final CudaLossOps loss;
    private final CudaOptimizerOps optimizer;
    private final CudaGraphs graphs;
    private final boolean shared;

    public CudaBackend(int ordinal) {
        this(ordinal, Map.of());
    }

    /** @param planned bytes per region to allocate at the start; see {@link CudaArena} */
    public CudaBackend(int ordinal, Map<Region, Long> planned) {
        this(ordinal, planned, false);
    }

    /**
     * A backend on a GPU that other ranks use as well. NCCL refuses them, so what they send each other goes through host
     * memory: right, and slow. For tests of many ranks on few GPUs.
     */
    public static CudaBackend shared(int ordinal) {
        return new CudaBackend(ordinal, Map.of(), true);
    }

    private CudaBackend(int ordinal, Map<Region, Long> planned, boolean shared) {
        this.shared = shared;
        device = CudaDevice.open(ordinal);
        arena = new CudaArena(device, planned);
        memory = new CudaMemory(device, arena);
        kernels = new CudaKernels(device);
        runtime = new CudaRuntime(device, memory, kernels);
        gemm = new CudaGemmOps(runtime);
        quantize = new CudaQuantizeOps(runtime);
        weightCodes = new CudaWeightCodes(runtime);
        frequencies = new RotaryFrequencies(runtime);
        elementwise = new CudaElementwiseOps(runtime, frequencies);
        norm = new CudaNormOps(runtime, frequencies);
        attention = new CudaAttentionOps(runtime);
        moe = new CudaMoeOps(runtime);
        loss = new CudaLossOps(runtime, gemm, quantize, elementwise);
        optimizer = new CudaOptimizerOps(runtime);
        graphs = new CudaGraphs(device, arena);
    }

    /** The parts the operations are made of; for tests and benchmarks of kernels. */
    public CudaRuntime runtime() {
        return runtime;
    }

    @Override
    public String description() {
        return device.toString();
    }

    @Override
    public TensorScope scope(Region region) {
        return memory.scope(region);
    }

    @Override
    public Lending lend(List<Lending.Range> ranges) {
        return new CudaLending(memory, ranges);
    }

    @Override
    public boolean repeat(RepeatedWork work) {
        return graphs.repeat(work);
    }

    @Override
    public boolean repeats() {
        return true;
    }

    /** How often repeated work was queued as a CUDA graph. */
    public long graphLaunches() {
        return graphs.replays();
    }

    @Override
    public void upload(float[] source, Tensor destination) {
        memory.upload(source, CudaTensor.of(destination));
    }

    @Override
    public void upload(int[] source, Tensor destination) {
        memory.upload(source, CudaTensor.of(destination));
    }

    @Override
    public float[] download(Tensor source) {
        return memory.download(CudaTensor.of(source));
    }

    @Override
    public List<float[]> download(List<Tensor> sources) {
        return memory.download(sources.stream().map(CudaTensor::of).toList());
    }

    @Override
    public void download(Tensor source, float[] destination) {
        memory.download(CudaTensor.of(source), destination);
    }

    @Override
    public int[] downloadInts(Tensor source) {
        return memory.downloadInts(CudaTensor.of(source));
    }

    @Override
    public CommunicationWorld communicating(CommunicationWorld world) {
        return shared || world.size() == 1 ? new HostStagedWorld(memory, world) : new NcclWorld(runtime, world);
    }

    @Override
    public ElementwiseOps elementwise() {
        return elementwise;
    }

    @Override
    public GemmOps gemm() {
        return gemm;
    }

    @Override
    public QuantizeOps quantize() {
        return quantize;
    }

    @Override
    public WeightCodeOps weightCodes() {
        return weightCodes;
    }

    @Override
    public NormOps norm() {
        return norm;
    }

    @Override
    public AttentionOps attention() {
        return attention;
    }

    @Override
    public MoeOps moe() {
        return moe;
    }

    @Override
    public LossOps loss() {
        return loss;
    }

    @Override
    public OptimizerOps optimizer() {
        return optimizer;
    }

    @Override
    public void close() {
        device.stream().synchronize();
        graphs.close();
        attention.close();
        gemm.close();
        frequencies.close();
        loss.close();
        optimizer.close();
        weightCodes.close();
        kernels.close();
        memory.close();
        arena.close();
        device.close();
    }
}
