package io.fourfold.plan;

import io.fourfold.config.FfnConfig;
import io.fourfold.config.ModelConfig;
import io.fourfold.config.MoeConfig;
import io.fourfold.kernels.op.Activation;
import io.fourfold.model.ParameterNames;
import io.fourfold.precision.LinearKind;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** Every trained global tensor of a model with its shape, from the configuration alone; nothing is allocated. */
public final class ModelTensors {
    /** What a tensor belongs to, which decides how it is split over ranks. */
    public enum Part {
        EMBEDDING,
        HEAD,
        NORM,
        ATTENTION,
        ROUTER,
        FFN,
        SHARED_EXPERT,
        EXPERT
    }

    /**
     * One tensor.
     *
     * @param name canonical name, see {@link ParameterNames}
     * @param shape global shape
     * @param layer 0-based block, or -1 outside the blocks
     * @param linear the linear layer it is the weight of; null for norms, biases, router, embedding and head
     */
    public record GlobalTensor(
            String name,
            List<Integer> shape,
            Part part,
            int layer,
            @Nullable LinearKind linear) {
        public GlobalTensor {
            shape = List.copyOf(shape);
        }

        public long elements() {
            return shape.stream().mapToLong(Integer::longValue).reduce(1, Math::multiplyExact);
        }
    }

    private final ModelConfig model;
    private final List<GlobalTensor> tensors = new ArrayList<>();
    private int layer = -1;

    private ModelTensors(ModelConfig model) {
        this.model = model;
    }

    /** In the order of the forward pass. */
    public static List<GlobalTensor> of(ModelConfig model) {
        ModelTensors list = new ModelTensors(model);
        list.collect();
        return Collections.unmodifiableList(list.tensors);
    }

    private void collect() {
        int hidden = model.hiddenSize();
        add(ParameterNames.EMBEDDING, Part.EMBEDDING, null, model.vocabSize(), hidden);
        for (layer = 0; layer < model.layers(); layer++) {
            add(ParameterNames.norm(layer, "attention_norm"), Part.NORM, null, hidden);
            attention();
            add(ParameterNames.norm(layer, "ffn_norm"), Part.NORM, null, hidden);
            if (model.isMoeLayer(layer)) {
                moe();
            } else {
                dense();
            }
        }
        layer = -1;
        add(ParameterNames.FINAL_NORM, Part.NORM, null, hidden);
        if (!model.tieEmbeddings()) {
            add(ParameterNames.HEAD, Part.HEAD, null, model.vocabSize(), hidden);
        }
    }

    private void attention() {
        int hidden = model.hiddenSize();
        int query = model.attention().queryWidth();
        int keyValue = model.attention().kvWidth();
        projection("q", query);
        projection("k", keyValue);
        projection("v", keyValue);
        if (model.attention().qkNorm()) {
            add(
                    ParameterNames.headNorm(layer, "q"),
                    Part.NORM,
                    null,
                    model.attention().headDim());
            add(
                    ParameterNames.headNorm(layer, "k"),
                    Part.NORM,
                    null,
                    model.attention().headDim());
        }
        add(ParameterNames.attention(layer, "o", "weight"), Part.ATTENTION, LinearKind.ATTENTION_OUTPUT, hidden, query);
    }

    private void projection(String name, int width) {
        add(ParameterNames.attention(layer, name, "weight"), Part.ATTENTION, LinearKind.QKV, width, model.hiddenSize());
        if (model.attention().qkvBias()) {
            add(ParameterNames.attention(layer, name, "bias"), Part.ATTENTION, null, width);
        }
    }

    private void dense() {
        FfnConfig ffn = model.ffn();
        if (ffn == null) {
            throw new IllegalArgumentException("block " + layer + " is dense and model.ffn is absent");
        }
        int hidden = model.hiddenSize();
        int inner = ffn.intermediateSize();
        if (ffn.activation() == Activation.SWIGLU) {
            add(ParameterNames.ffn(layer, "gate"), Part.FFN, LinearKind.FFN_UP, inner, hidden);
        }
        add(ParameterNames.ffn(layer, "up"), Part.FFN, LinearKind.FFN_UP, inner, hidden);
        add(ParameterNames.ffn(layer, "down"), Part.FFN, LinearKind.FFN_DOWN, hidden, inner);
    }

    private void moe() {
        MoeConfig moe = model.moe();
        if (moe == null) {
            throw new IllegalArgumentException("block " + layer + " has experts and model.moe is absent");
        }
        int hidden = model.hiddenSize();
        int inner = moe.intermediateSize();
        boolean gated = moe.activation() == Activation.SWIGLU;
        add(ParameterNames.router(layer), Part.ROUTER, null, moe.experts(), hidden);
        if (gated) {
            add(ParameterNames.experts(layer, "gate"), Part.EXPERT, LinearKind.EXPERT_UP, moe.experts(), inner, hidden);
        }
        add(ParameterNames.experts(layer, "up"), Part.EXPERT, LinearKind.EXPERT_UP, moe.experts(), inner, hidden);
        add(ParameterNames.experts(layer, "down"), Part.EXPERT, LinearKind.EXPERT_DOWN, moe.experts(), hidden, inner);
        if (moe.sharedExpert() == null) {
            return;
        }
        int shared = moe.sharedExpert().intermediateSize();
        if (gated) {
            add(ParameterNames.shared(layer, "gate"), Part.SHARED_EXPERT, LinearKind.SHARED_UP, shared, hidden);
        }
        add(ParameterNames.shared(layer, "up"), Part.SHARED_EXPERT, LinearKind.SHARED_UP, shared, hidden);
        add(ParameterNames.shared(layer, "down"), Part.SHARED_EXPERT, LinearKind.SHARED_DOWN, hidden, shared);
        if (moe.sharedExpert().gated()) {
            add(ParameterNames.sharedGate(layer), Part.ROUTER, null, 1, hidden);
        }
    }

    private void add(String name, Part part, @Nullable LinearKind linear, Integer... shape) {
        tensors.add(new GlobalTensor(name, Arrays.asList(shape), part, layer, linear));
    }
}
