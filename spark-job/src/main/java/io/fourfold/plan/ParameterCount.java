package io.fourfold.plan;

import io.fourfold.config.ModelConfig;
import io.fourfold.config.MoeConfig;
import io.fourfold.plan.ModelTensors.GlobalTensor;
import io.fourfold.plan.ModelTensors.Part;
import java.util.List;

/**
 * Trained parameters.
 *
 * @param total every trained element
 * @param active those a token meets: all but the experts it is not sent to
 * @param embedding embedding table
 * @param head output head; 0 when tied to the embedding
 * @param experts all routed experts
 * @param activeMatmul those a token is multiplied with: {@code active} without norms, biases and the embedding table, the
 *     head counted even when tied
 */
public record ParameterCount(long total, long active, long embedding, long head, long experts, long activeMatmul) {

    public static ParameterCount of(ModelConfig model) {
        List<GlobalTensor> tensors = ModelTensors.of(model);
        long total = sum(tensors, Part.values());
        long experts = sum(tensors, Part.EXPERT);
        MoeConfig moe = model.moe();
        long idle = moe == null ? 0 : experts / moe.experts() * (moe.experts() - moe.topK());
        long matrices = tensors.stream()
                .filter(t -> t.shape().size() > 1 && t.part() != Part.EMBEDDING && t.part() != Part.HEAD)
                .mapToLong(GlobalTensor::elements)
                .sum();
        long logits = (long) model.vocabSize() * model.hiddenSize();
        return new ParameterCount(
                total,
                total - idle,
                sum(tensors, Part.EMBEDDING),
                sum(tensors, Part.HEAD),
                experts,
                matrices - idle + logits);
    }

    private static long sum(List<GlobalTensor> tensors, Part... parts) {
        List<Part> wanted = List.of(parts);
        return tensors.stream()
                .filter(t -> wanted.contains(t.part()))
                .mapToLong(GlobalTensor::elements)
                .sum();
    }
}
