package io.fourfold.model;

import io.fourfold.config.ModelConfig;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import io.fourfold.metrics.StepMetrics.LayerLoad;
import io.fourfold.parallel.StageLayout;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;

/** Brings the expert load of all pipeline stages together. */
record LoadExchange(ModelConfig model, StageLayout layout, Communicator pipeline, Backend backend) {
    /** The load of every MoE layer of the model, in order; collective. */
    List<LayerLoad> merge(List<LayerLoad> mine) {
        if (model.moe() == null || pipeline.size() == 1) {
            return mine;
        }
        int experts = model.moe().experts();
        List<Integer> layers = new ArrayList<>();
        long[] counts = new long[pipeline.size()];
        for (int rank = 0; rank < counts.length; rank++) {
            List<Integer> theirs = ModelAssembly.moeLayers(model, layout.of(rank));
            layers.addAll(theirs);
            counts[rank] = (long) theirs.size() * experts;
        }
        int[] all = gather(
                mine.stream().flatMapToInt(load -> Arrays.stream(load.tokens())).toArray(), counts);
        List<LayerLoad> loads = new ArrayList<>();
        for (int i = 0; i < layers.size(); i++) {
            loads.add(new LayerLoad(layers.get(i), Arrays.copyOfRange(all, i * experts, (i + 1) * experts)));
        }
        loads.sort(Comparator.comparingInt(LayerLoad::layer));
        return loads;
    }

    private int[] gather(int[] mine, long[] counts) {
        try (TensorScope scope = backend.scope(Region.WORKSPACE)) {
            Tensor send = scope.allocate(DType.INT32, mine.length);
            Tensor receive = scope.allocate(
                    DType.INT32, Math.toIntExact(Arrays.stream(counts).sum()));
            if (mine.length > 0) {
                backend.upload(mine, send);
            }
            pipeline.allGatherV(send, receive, counts);
            return backend.downloadInts(receive);
        }
    }
}
