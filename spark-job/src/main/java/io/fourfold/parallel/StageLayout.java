package io.fourfold.parallel;

import io.fourfold.config.ModelConfig;
import io.fourfold.config.ParallelConfig;
import java.util.ArrayList;
import java.util.List;

/**
 * How the blocks of a model are dealt to pipeline ranks. With V virtual stages a rank has V model chunks: chunk c of rank r
 * is stage c * PP + r, so consecutive stages lie on consecutive ranks (interleaving, arXiv:2104.04473 section 2.2).
 *
 * @param ranks pipeline ranks (PP)
 * @param chunks model chunks of each rank (V)
 * @param stages all PP * V stages in the order of the forward pass
 */
public record StageLayout(int ranks, int chunks, List<Stage> stages) {
    public StageLayout {
        stages = List.copyOf(stages);
        if (stages.size() != ranks * chunks) {
            throw new IllegalArgumentException(
                    stages.size() + " stages for " + ranks + " ranks with " + chunks + " chunks each");
        }
    }

    /** The configured layout, or the balanced one when none is configured. */
    public static StageLayout of(ModelConfig model, ParallelConfig parallel) {
        int ranks = parallel.pipelineParallelSize();
        int chunks = parallel.virtualStages();
        List<Integer> blocks =
                parallel.stageLayout().isEmpty() ? StageBalance.of(model, ranks * chunks) : parallel.stageLayout();
        return of(ranks, chunks, blocks);
    }

    /**
     * @param blocks number of blocks of each stage
     */
    static StageLayout of(int ranks, int chunks, List<Integer> blocks) {
        List<Stage> stages = new ArrayList<>();
        int next = 0;
        for (int i = 0; i < blocks.size(); i++) {
            int end = next + blocks.get(i);
            stages.add(new Stage(i, next, end, i == 0, i == blocks.size() - 1));
            next = end;
        }
        return new StageLayout(ranks, chunks, stages);
    }

    /** Chunk {@code chunk} of pipeline rank {@code rank}. */
    public Stage stage(int rank, int chunk) {
        return stages.get(chunk * ranks + rank);
    }

    /** The stages of a pipeline rank by chunk. */
    public List<Stage> of(int rank) {
        List<Stage> mine = new ArrayList<>();
        for (int chunk = 0; chunk < chunks; chunk++) {
            mine.add(stage(rank, chunk));
        }
        return mine;
    }
}
