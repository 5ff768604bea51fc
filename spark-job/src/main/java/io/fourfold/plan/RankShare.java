package io.fourfold.plan;

import io.fourfold.config.ModelConfig;
import io.fourfold.parallel.ParallelMapping;
import io.fourfold.plan.ModelTensors.GlobalTensor;
import io.fourfold.plan.ModelTensors.Part;

/**
 * What one rank holds of a model. Pipeline stages differ; this is one of them.
 *
 * @param dense elements replicated over DP x CP
 * @param expert elements replicated over EDP
 * @param linear elements of both that are weights of linear layers
 * @param layers blocks of the stage
 * @param moeLayers those with experts
 * @param lastStage holds the output head
 */
record RankShare(long dense, long expert, long linear, int layers, int moeLayers, boolean lastStage) {
    /** The stage that holds the most. */
    static RankShare largest(ModelConfig model, ParallelMapping mapping) {
        RankShare largest = of(model, mapping, 0);
        for (int stage = 1; stage < mapping.pipeline(); stage++) {
            RankShare share = of(model, mapping, stage);
            if (share.dense + share.expert > largest.dense + largest.expert) {
                largest = share;
            }
        }
        return largest;
    }

    static RankShare of(ModelConfig model, ParallelMapping mapping, int stage) {
        int stages = mapping.pipeline();
        int first = firstLayer(model.layers(), stages, stage);
        int end = firstLayer(model.layers(), stages, stage + 1);
        long dense = 0;
        long expert = 0;
        long linear = 0;
        for (GlobalTensor tensor : ModelTensors.of(model)) {
            if (!onStage(tensor, model, first, end, stage, stages)) {
                continue;
            }
            long elements = tensor.elements() / ways(tensor, mapping);
            if (tensor.part() == Part.EXPERT) {
                expert += elements;
            } else {
                dense += elements;
            }
            if (tensor.linear() != null) {
                linear += elements;
            }
        }
        int moeLayers = 0;
        for (int layer = first; layer < end; layer++) {
            moeLayers += model.isMoeLayer(layer) ? 1 : 0;
        }
        return new RankShare(dense, expert, linear, end - first, moeLayers, stage == stages - 1);
    }

    /** Blocks are dealt as evenly as they go, the earlier stages taking one more. */
    private static int firstLayer(int layers, int stages, int stage) {
        return layers / stages * stage + Math.min(stage, layers % stages);
    }

    private static boolean onStage(GlobalTensor tensor, ModelConfig model, int first, int end, int stage, int stages) {
        if (tensor.layer() >= 0) {
            return tensor.layer() >= first && tensor.layer() < end;
        }
        if (tensor.part() == Part.EMBEDDING) {
            // A tied embedding is also the head of the last stage.
            return stage == 0 || (model.tieEmbeddings() && stage == stages - 1);
        }
        return stage == stages - 1;
    }

    /** Over how many ranks a tensor is split. */
    private static int ways(GlobalTensor tensor, ParallelMapping mapping) {
        return switch (tensor.part()) {
            case NORM, ROUTER -> 1;
            case EMBEDDING, HEAD, ATTENTION, FFN, SHARED_EXPERT -> mapping.tensor();
            case EXPERT -> mapping.expert() * mapping.expertTensor();
        };
    }
}
