package io.fourfold.spark;

import io.fourfold.kernels.cuda.CudaIdentity;
import java.util.Map;

/**
 * What a rank computes on, as far as the others must know.
 *
 * @param id unique in the cluster: a GPU's UUID; empty for the processor, which ranks may share
 * @param facts what should be the same on all ranks, by name
 */
record Accelerator(String id, Map<String, String> facts) {
    Accelerator {
        facts = Map.copyOf(facts);
    }

    static Accelerator processor() {
        return new Accelerator("", Map.of("backend", "cpu"));
    }

    static Accelerator gpu(CudaIdentity gpu) {
        var facts = new java.util.TreeMap<>(gpu.versions());
        facts.put("backend", "cuda");
        return new Accelerator(gpu.uuid(), facts);
    }
}
