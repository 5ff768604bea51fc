package io.fourfold.plan;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.ModelConfig;
import io.fourfold.parallel.ParallelMapping;
import io.fourfold.parallel.Stage;
import io.fourfold.parallel.StageLayout;
import io.fourfold.plan.ModelTensors.GlobalTensor;
import io.fourfold.plan.ModelTensors.Part;
import java.util.List;

/**
 * What one rank holds of a model. Pipeline ranks differ; this is one of them.
 *
 * @param pipelineRank which one
 * @param dense elements sharded over TP and replicated over DP x CP
 * @param replicated elements that are whole on every rank of the stage: norms, routers
 * @param expert elements replicated over EDP
 * @param linear elements of all that are weights of linear layers
 * @param layers blocks of the rank
 * @param moeLayers those with experts
 * @param firstStage holds the embedding
 * @param lastStage holds the output head
 */
record RankShare(
        int pipelineRank,
        long dense,
        long replicated,
        long expert,
        long linear,
        int layers,
        int moeLayers,
        boolean firstStage,
        boolean lastStage) {
    /** Trained elements. */
    long parameters() {
        return dense + replicated + expert;
    }

    /** The pipeline rank that holds the most. */
    static RankShare largest(FourfoldConfig config) {
        RankShare largest = of(config, 0);
        for (int rank = 1; rank < config.parallel().pipelineParallelSize(); rank++) {
            RankShare share = of(config, rank);
            if (share.parameters() > largest.parameters()) {
                largest = share;
            }
        }
        return largest;
    }

    /** The share of the ranks with coordinate {@code rank} in the pipeline group. */
    static RankShare of(FourfoldConfig config, int rank) {
        ModelConfig model = config.model();
        ParallelMapping mapping = ParallelMapping.of(config.parallel());
        List<Stage> stages = StageLayout.of(model, config.parallel()).of(rank);
        long dense = 0;
        long replicated = 0;
        long expert = 0;
        long linear = 0;
        for (GlobalTensor tensor : ModelTensors.of(model)) {
            long elements = copies(tensor, model, stages) * tensor.elements() / ways(tensor, mapping);
            switch (tensor.part()) {
                case EXPERT -> expert += elements;
                case NORM, ROUTER -> replicated += elements;
                case EMBEDDING, HEAD, ATTENTION, FFN, SHARED_EXPERT -> dense += elements;
            }
            if (tensor.linear() != null) {
                linear += elements;
            }
        }
        int moeLayers = 0;
        for (int layer = 0; layer < model.layers(); layer++) {
            moeLayers += model.isMoeLayer(layer) && has(stages, layer) ? 1 : 0;
        }
        return new RankShare(
                rank,
                dense,
                replicated,
                expert,
                linear,
                stages.stream().mapToInt(Stage::layers).sum(),
                moeLayers,
                stages.stream().anyMatch(Stage::first),
                stages.stream().anyMatch(Stage::last));
    }

    private static boolean has(List<Stage> stages, int layer) {
        return stages.stream().anyMatch(stage -> stage.has(layer));
    }

    /** How often a tensor is on the stages; the head's copy of a tied embedding is one when it is elsewhere. */
    private static int copies(GlobalTensor tensor, ModelConfig model, List<Stage> stages) {
        boolean first = stages.stream().anyMatch(Stage::first);
        boolean last = stages.stream().anyMatch(Stage::last);
        boolean here = tensor.layer() >= 0
                ? has(stages, tensor.layer())
                : tensor.part() == Part.EMBEDDING ? first || (model.tieEmbeddings() && last) : last;
        return here ? 1 : 0;
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
