package io.fourfold.plan;

import io.fourfold.config.DispatchUnit;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.ModelConfig;
import io.fourfold.config.MoeConfig;
import io.fourfold.config.RecomputeModule;
import io.fourfold.config.SharedExpertConfig;
import io.fourfold.kernels.tensor.LentMemory;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.parallel.Axis;
import io.fourfold.parallel.ParallelMapping;
import io.fourfold.plan.ReplayedMemory.Scope;
import io.fourfold.precision.Recipe;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Replays what a micro-batch allocates on a GPU, tensor by tensor in the order of the layers: activations and workspace, and
 * how much of both lies in the memory of gradients that backward has not written yet.
 */
final class GpuStep {
    /** Gradients of the experts of a layer. */
    private static final int EXPERT_RANGES = 2;

    private static final long WORD = 4;

    private final FourfoldConfig config;
    private final ModelConfig model;
    private final ParallelMapping mapping;
    private final List<GpuBlock> blocks = new ArrayList<>();
    private final List<LentMemory.Range> ranges = new ArrayList<>();
    /** First range after the gradients of a block's feed-forward part, and after those of its attention. */
    private final int[] afterFeedForward;

    private final int[] afterAttention;
    private final Map<Integer, Integer> expertUp = new HashMap<>();
    private final ReplayedMemory memory;
    /** Hidden states that wait to be sent to the next stages, one a chunk without the head. */
    private final int outputs;

    private long keptBytes;

    /**
     * @param tokens of a micro-batch on this rank
     */
    GpuStep(FourfoldConfig config, ParallelMapping mapping, RankShare share, Recipe recipe, long tokens) {
        this.config = config;
        this.model = config.model();
        this.mapping = mapping;
        boolean whole = mapping.pipeline() == 1;
        outputs = config.parallel().virtualStages() - (share.lastStage() ? 1 : 0);
        for (int i = 0; i < share.layers(); i++) {
            boolean moe = whole ? model.isMoeLayer(i) : i >= share.layers() - share.moeLayers();
            blocks.add(new GpuBlock(config, recipe, whole ? i : 0, moe, tokens));
        }
        afterFeedForward = new int[blocks.size()];
        afterAttention = new int[blocks.size()];
        if (lends()) {
            lend();
        }
        memory = new ReplayedMemory(ranges);
    }

    private boolean lends() {
        return config.train().lendGradients()
                && mapping.pipeline() == 1
                && config.parallel().virtualStages() == 1
                && config.train().globalBatchSize()
                        == mapping.data() * config.train().microBatchSize();
    }

    /** Whether the gradients of shared experts are written while tokens travel. */
    private boolean sharedExpertsFirst() {
        boolean travel = size(Axis.EP) > 1 || size(Axis.ETP) > 1;
        return travel && config.parallel().dispatchUnit() == DispatchUnit.TOKEN;
    }

    /** Gradients of linear layers as they lie in the flat buffers, reclaimed from the last block to the first. */
    private void lend() {
        long experts = 1L << 50; // a buffer of its own
        long dense = WORD * model.vocabSize() * model.hiddenSize() / mapping.tensor();
        List<List<LentMemory.Range>> attention = new ArrayList<>();
        List<List<LentMemory.Range>> feedForward = new ArrayList<>();
        long hidden = model.hiddenSize();
        for (GpuBlock block : blocks) {
            long query = model.attention().queryWidth();
            long qkv = WORD * hidden * (query + 2L * model.attention().kvWidth()) / mapping.tensor();
            long out = WORD * hidden * query / mapping.tensor();
            attention.add(List.of(range(dense + qkv, out), range(dense, qkv)));
            dense += qkv + out;
            MoeConfig moe = model.moe();
            if (block.moe() && moe != null) {
                long down = WORD * moe.experts() * hidden * moe.intermediateSize() / size(Axis.EP) / size(Axis.ETP);
                long up = moe.activation().inputFactor() * down;
                feedForward.add(new ArrayList<>(List.of(range(experts + up, down), range(experts, up))));
                experts += up + down;
                SharedExpertConfig shared = moe.sharedExpert();
                if (shared != null) {
                    long width = (long) shared.intermediateSize();
                    dense = feedForward(
                            feedForward.get(feedForward.size() - 1),
                            dense,
                            width,
                            moe.activation().inputFactor());
                }
            } else if (model.ffn() != null) {
                feedForward.add(new ArrayList<>());
                dense = feedForward(
                        feedForward.get(feedForward.size() - 1),
                        dense,
                        model.ffn().intermediateSize(),
                        model.ffn().activation().inputFactor());
            }
        }
        for (int i = blocks.size() - 1; i >= 0; i--) {
            List<LentMemory.Range> written = feedForward.get(i);
            if (blocks.get(i).moe()) {
                int last = sharedExpertsFirst() ? written.size() : EXPERT_RANGES;
                Collections.rotate(written, last - EXPERT_RANGES);
                expertUp.put(i, ranges.size() + last - 1);
            }
            ranges.addAll(written);
            afterFeedForward[i] = ranges.size();
            ranges.addAll(attention.get(i));
            afterAttention[i] = ranges.size();
        }
        if (!model.tieEmbeddings()) {
            ranges.add(range(0, WORD * model.vocabSize() * hidden / mapping.tensor()));
        }
    }

    private int size(Axis axis) {
        return mapping.size(axis);
    }

    /** Adds a dense network's two ranges and returns where they end. */
    private long feedForward(List<LentMemory.Range> to, long from, long width, int inputFactor) {
        long down = WORD * model.hiddenSize() * width / mapping.tensor();
        to.add(range(from + inputFactor * down, down));
        to.add(range(from, inputFactor * down));
        return from + (1 + inputFactor) * down;
    }

    private static LentMemory.Range range(long address, long bytes) {
        return new LentMemory.Range("", address, bytes);
    }

    private boolean again(RecomputeModule module) {
        return config.train().recompute().contains(module);
    }

    /** Activations between forward and backward, of all chunks of the rank; call it after {@link #run}. */
    long keptBytes() {
        return keptBytes;
    }

    /**
     * @param loss tensors of the loss; empty on a rank without the head
     */
    ReplayedMemory run(long... loss) {
        Scope stream = memory.scope(Region.WORKSPACE, memory.never())
                .add(blocks.isEmpty() ? 0 : blocks.get(0).hidden());
        List<Scope> inputs = new ArrayList<>();
        List<List<Scope>> kept = new ArrayList<>();
        for (int i = 0; i < blocks.size(); i++) {
            inputs.add(memory.scope(Region.ACTIVATIONS, afterAttention[i])
                    .add(blocks.get(i).hidden()));
            if (again(RecomputeModule.BLOCK)) {
                forgetting(i);
                kept.add(List.of());
            } else {
                kept.add(forward(i, false, 0));
            }
        }
        Scope sent = memory.scope(Region.ACTIVATIONS, memory.never());
        for (int i = 0; i < outputs && !blocks.isEmpty(); i++) {
            sent.add(blocks.get(0).hidden());
        }
        keptBytes = memory.used(Region.ACTIVATIONS);
        try (Scope output = memory.scope(Region.ACTIVATIONS, 0);
                Scope work = memory.scope(Region.WORKSPACE, 0)) {
            output.add(blocks.isEmpty() || loss.length == 0 ? 0 : blocks.get(0).hidden());
            work.add(loss);
        }
        for (int i = blocks.size() - 1; i >= 0; i--) {
            List<Scope> own = again(RecomputeModule.BLOCK) ? forward(i, true, afterFeedForward[i]) : kept.get(i);
            backward(i, own);
            inputs.get(i).close();
        }
        sent.close();
        stream.close();
        return memory;
    }

    /**
     * What a block keeps: between its parts, of attention, of the feed-forward part, and inside the experts.
     *
     * @param everything also what {@code train.recompute} computes again
     * @param until before which range workspace is released
     */
    private List<Scope> forward(int i, boolean everything, int until) {
        GpuBlock block = blocks.get(i);
        Scope between = memory.scope(Region.ACTIVATIONS, afterFeedForward[i]).add(block.hidden());
        Scope attention = memory.scope(Region.ACTIVATIONS, afterAttention[i]);
        Scope feedForward = memory.scope(Region.ACTIVATIONS, afterFeedForward[i]);
        Scope inside = memory.scope(Region.ACTIVATIONS, expertUp.getOrDefault(i, memory.never()));
        try (Scope work = memory.scope(Region.WORKSPACE, until);
                Scope temporary = memory.scope(Region.ACTIVATIONS, until)) {
            boolean keeps = everything || !again(RecomputeModule.ATTENTION);
            work.add(block.hidden());
            (keeps ? attention : temporary).add(block.attentionKept());
            work.add(block.attentionForward());
        }
        try (Scope work = memory.scope(Region.WORKSPACE, until);
                Scope temporary = memory.scope(Region.ACTIVATIONS, until)) {
            boolean keeps = everything || !again(RecomputeModule.EXPERT);
            work.add(block.hidden());
            (keeps ? feedForward : temporary).add(block.feedForwardKept());
            (keeps ? inside : temporary).add(block.insideExpertsKept());
            work.add(block.feedForwardForward());
        }
        return List.of(between, attention, feedForward, inside);
    }

    /** What a block allocates whose backward computes it again. */
    private void forgetting(int i) {
        for (Scope scope : forward(i, true, 0)) {
            scope.close();
        }
    }

    private void backward(int i, List<Scope> kept) {
        GpuBlock block = blocks.get(i);
        Scope between = kept.get(0);
        Scope attention = kept.get(1);
        Scope feedForward = kept.get(2);
        Scope inside = kept.get(3);
        boolean replayed = !again(RecomputeModule.BLOCK);
        if (replayed && again(RecomputeModule.EXPERT)) {
            feedForward.add(block.feedForwardKept());
            inside.add(block.insideExpertsKept());
        }
        int next = i == blocks.size() - 1 ? 0 : afterAttention[i + 1];
        int up = expertUp.getOrDefault(i, next + 1);
        try (Scope work = memory.scope(Region.WORKSPACE, afterFeedForward[i])) {
            work.add(block.hidden());
            try (Scope within = memory.scope(Region.WORKSPACE, expertUp.getOrDefault(i, memory.never()))) {
                within.add(block.insideExpertsBackward());
                for (int range = next; range < up; range++) {
                    memory.reclaim(range);
                }
                work.add(block.innerGradients());
            }
            inside.close();
            work.add(block.outerGradients());
            for (int range = up; range < afterFeedForward[i]; range++) {
                memory.reclaim(range);
            }
        }
        feedForward.close();
        between.close();
        if (replayed && again(RecomputeModule.ATTENTION)) {
            attention.add(block.attentionKept());
        }
        try (Scope work = memory.scope(Region.WORKSPACE, afterAttention[i])) {
            work.add(block.hidden());
            work.add(block.attentionBackward());
            for (int range = afterFeedForward[i]; range < afterAttention[i]; range++) {
                memory.reclaim(range);
            }
        }
        attention.close();
    }
}
