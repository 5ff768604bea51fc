package io.fourfold.model;

import io.fourfold.config.AttentionConfig;
import io.fourfold.config.FfnConfig;
import io.fourfold.config.ModelConfig;
import io.fourfold.config.MoeConfig;
import io.fourfold.config.SharedExpertConfig;
import io.fourfold.kernels.op.Activation;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.model.Parameter.Kind;
import io.fourfold.moe.Router;
import io.fourfold.parallel.Stage;
import io.fourfold.precision.LinearKind;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * Declares this rank's parameters: which local tensor holds which parts of which global tensors. Query, key and value
 * projections are one tensor, as are gate and up; expert tensors hold a slice of the experts.
 *
 * @param stages the pipeline stages of this rank
 * @param tensorPart which part of each split dense tensor, of {@code tensorParts} equal ones (TP)
 * @param firstExpert global index of this rank's first expert
 * @param localExperts experts of this rank
 * @param expertPart which part of each of them, of {@code expertParts} equal ones along the inner width (ETP)
 */
record ParameterDeclarations(
        ModelConfig model,
        List<Stage> stages,
        int tensorPart,
        int tensorParts,
        int firstExpert,
        int localExperts,
        int expertPart,
        int expertParts) {
    static final String EMBEDDING = "embedding";
    static final String FINAL_NORM = "final_norm";
    static final String HEAD = "head";
    /** The embedding of a tied model on its last stage, when that is not also the first. */
    static final String TIED_HEAD = "tied_head";

    /** Unique name of a block's local tensor. */
    static String local(int layer, String name) {
        return ParameterNames.layer(layer) + name;
    }

    void declare(ParameterStore.Builder store) {
        stages.forEach(stage -> declare(store, stage));
    }

    /** Local name of the head's weight on a last stage. */
    static String headWeight(ModelConfig model, Stage stage) {
        return !model.tieEmbeddings() ? HEAD : stage.first() ? EMBEDDING : TIED_HEAD;
    }

    private void declare(ParameterStore.Builder store, Stage stage) {
        int hidden = model.hiddenSize();
        if (stage.first()) {
            vocabulary(store, EMBEDDING, ParameterNames.EMBEDDING, false);
        }
        for (int layer = stage.firstLayer(); layer < stage.endLayer(); layer++) {
            vector(store, local(layer, "attention_norm"), ParameterNames.norm(layer, "attention_norm"), hidden);
            attention(store, layer, model.attention());
            vector(store, local(layer, "ffn_norm"), ParameterNames.norm(layer, "ffn_norm"), hidden);
            MoeConfig moe = model.moe();
            if (moe != null && model.isMoeLayer(layer)) {
                experts(store, layer, moe);
            } else {
                denseFfn(store, layer, requireFfn(layer));
            }
        }
        if (stage.last()) {
            vector(store, FINAL_NORM, ParameterNames.FINAL_NORM, hidden);
            head(store, headWeight(model, stage));
        }
    }

    private void head(ParameterStore.Builder store, String local) {
        boolean copy = local.equals(TIED_HEAD);
        if (!local.equals(EMBEDDING)) {
            vocabulary(store, local, copy ? ParameterNames.EMBEDDING : ParameterNames.HEAD, copy);
        }
    }

    FfnConfig requireFfn(int layer) {
        FfnConfig ffn = model.ffn();
        if (ffn == null) {
            throw new IllegalArgumentException(
                    "block " + layer + " of model " + model.name() + " has no experts, but model.ffn is not set");
        }
        return ffn;
    }

    private void attention(ParameterStore.Builder store, int layer, AttentionConfig attention) {
        int hidden = model.hiddenSize();
        int q = attention.queryWidth();
        int kv = attention.kvWidth();
        List<Integer> widths = List.of(q, kv, kv);
        byRows(store, LinearWeights.name(layer, LinearKind.QKV), hidden, projections(layer, "weight"), widths);
        if (attention.qkvBias()) {
            byElements(store, local(layer, "attention.qkv_bias"), projections(layer, "bias"), widths);
        }
        if (attention.qkNorm()) {
            vector(store, local(layer, "attention.q_norm"), ParameterNames.headNorm(layer, "q"), attention.headDim());
            vector(store, local(layer, "attention.k_norm"), ParameterNames.headNorm(layer, "k"), attention.headDim());
        }
        byColumns(
                store,
                LinearWeights.name(layer, LinearKind.ATTENTION_OUTPUT),
                ParameterNames.attention(layer, "o", "weight"),
                hidden,
                q);
    }

    private static List<String> projections(int layer, String part) {
        return Stream.of("q", "k", "v")
                .map(projection -> ParameterNames.attention(layer, projection, part))
                .toList();
    }

    private void denseFfn(ParameterStore.Builder store, int layer, FfnConfig ffn) {
        String gate = ffn.activation() == Activation.SWIGLU ? ParameterNames.ffn(layer, "gate") : null;
        fusedUp(
                store,
                LinearWeights.name(layer, LinearKind.FFN_UP),
                gate,
                ParameterNames.ffn(layer, "up"),
                ffn.intermediateSize());
        byColumns(
                store,
                LinearWeights.name(layer, LinearKind.FFN_DOWN),
                ParameterNames.ffn(layer, "down"),
                model.hiddenSize(),
                ffn.intermediateSize());
    }

    private void experts(ParameterStore.Builder store, int layer, MoeConfig moe) {
        int hidden = model.hiddenSize();
        int inner = expertInner(moe);
        replicated(store, local(layer, "moe.router"), ParameterNames.router(layer), moe.experts(), hidden);
        if (moe.router().biasUpdateRate() > 0) {
            store.declareState(ParameterNames.expertBias(layer), Shape.of(moe.experts()));
        }
        if (Router.needsPreviousLoad(moe)) {
            store.declareState(ParameterNames.previousLoad(layer), Shape.of(moe.experts()));
        }
        int parts = moe.activation().inputFactor();
        List<Piece> up = new ArrayList<>();
        for (String name : moe.activation() == Activation.SWIGLU ? List.of("gate", "up") : List.of("up")) {
            long offset = (long) up.size() * inner * hidden;
            up.add(expertSlice(
                    ParameterNames.experts(layer, name),
                    moe,
                    new int[] {moe.intermediateSize(), hidden},
                    new int[] {expertPart * inner, 0},
                    new int[] {inner, hidden},
                    offset,
                    (long) parts * inner * hidden));
        }
        store.declare(
                LinearWeights.name(layer, LinearKind.EXPERT_UP),
                Kind.EXPERT,
                Shape.of(localExperts, parts * inner, hidden),
                true,
                up);
        Piece down = expertSlice(
                ParameterNames.experts(layer, "down"),
                moe,
                new int[] {hidden, moe.intermediateSize()},
                new int[] {0, expertPart * inner},
                new int[] {hidden, inner},
                0,
                (long) hidden * inner);
        store.declare(
                LinearWeights.name(layer, LinearKind.EXPERT_DOWN),
                Kind.EXPERT,
                Shape.of(localExperts, hidden, inner),
                true,
                List.of(down));
        if (moe.sharedExpert() != null) {
            sharedExpert(store, layer, moe.sharedExpert(), moe.activation());
        }
    }

    private void sharedExpert(
            ParameterStore.Builder store, int layer, SharedExpertConfig shared, Activation activation) {
        int hidden = model.hiddenSize();
        int inner = shared.intermediateSize();
        String gate = activation == Activation.SWIGLU ? ParameterNames.shared(layer, "gate") : null;
        fusedUp(
                store,
                LinearWeights.name(layer, LinearKind.SHARED_UP),
                gate,
                ParameterNames.shared(layer, "up"),
                inner);
        byColumns(
                store,
                LinearWeights.name(layer, LinearKind.SHARED_DOWN),
                ParameterNames.shared(layer, "down"),
                hidden,
                inner);
        if (shared.gated()) {
            replicated(store, local(layer, "moe.shared_gate"), ParameterNames.sharedGate(layer), 1, hidden);
        }
    }

    /** Inner width of this rank's part of an expert. */
    int expertInner(MoeConfig moe) {
        return moe.intermediateSize() / expertParts;
    }

    /** This rank's part of a global tensor [E, rows, cols]: some experts, and of each a box of rows and columns. */
    private Piece expertSlice(
            String name, MoeConfig moe, int[] whole, int[] from, int[] extent, long localOffset, long expertStride) {
        return new Piece(
                name,
                new long[] {moe.experts(), whole[0], whole[1]},
                new long[] {firstExpert, from[0], from[1]},
                new long[] {localExperts, extent[0], extent[1]},
                localOffset,
                new long[] {expertStride, extent[1], 1});
    }

    /** This rank's entries of a [V, H]. */
    private void vocabulary(ParameterStore.Builder store, String local, String global, boolean copy) {
        int hidden = model.hiddenSize();
        int rows = model.vocabSize() / tensorParts;
        Piece piece = new Piece(
                global,
                new long[] {model.vocabSize(), hidden},
                new long[] {(long) tensorPart * rows, 0},
                new long[] {rows, hidden},
                0,
                new long[] {hidden, 1});
        store.declare(local, Kind.DENSE, Shape.of(rows, hidden), true, copy, List.of(piece));
    }

    /** Gate above up, [2F, H]; up alone when there is no gate. */
    private void fusedUp(ParameterStore.Builder store, String local, @Nullable String gate, String up, int inner) {
        List<String> names = gate == null ? List.of(up) : List.of(gate, up);
        byRows(store, local, model.hiddenSize(), names, Collections.nCopies(names.size(), inner));
    }

    /** Global matrices [rows, cols] one above the other; a rank has the same part of the rows of each. */
    private void byRows(
            ParameterStore.Builder store, String local, int cols, List<String> names, List<Integer> globalRows) {
        List<Piece> pieces = new ArrayList<>();
        int next = 0;
        for (int i = 0; i < names.size(); i++) {
            int rows = globalRows.get(i) / tensorParts;
            pieces.add(new Piece(
                    names.get(i),
                    new long[] {globalRows.get(i), cols},
                    new long[] {(long) tensorPart * rows, 0},
                    new long[] {rows, cols},
                    (long) next * cols,
                    new long[] {cols, 1}));
            next += rows;
        }
        store.declare(local, Kind.DENSE, Shape.of(next, cols), true, pieces);
    }

    /** The same for vectors. */
    private void byElements(ParameterStore.Builder store, String local, List<String> names, List<Integer> sizes) {
        List<Piece> pieces = new ArrayList<>();
        int next = 0;
        for (int i = 0; i < names.size(); i++) {
            int size = sizes.get(i) / tensorParts;
            pieces.add(new Piece(
                    names.get(i),
                    new long[] {sizes.get(i)},
                    new long[] {(long) tensorPart * size},
                    new long[] {size},
                    next,
                    new long[] {1}));
            next += size;
        }
        store.declare(local, Kind.DENSE, Shape.of(next), false, pieces);
    }

    /** A rank's part of the columns of a global matrix. */
    private void byColumns(ParameterStore.Builder store, String local, String name, int rows, int globalCols) {
        int cols = globalCols / tensorParts;
        Piece piece = new Piece(
                name,
                new long[] {rows, globalCols},
                new long[] {0, (long) tensorPart * cols},
                new long[] {rows, cols},
                0,
                new long[] {cols, 1});
        store.declare(local, Kind.DENSE, Shape.of(rows, cols), true, List.of(piece));
    }

    private static void replicated(ParameterStore.Builder store, String local, String global, int rows, int cols) {
        store.declare(local, Kind.REPLICATED, Shape.of(rows, cols), true, List.of(Piece.whole(global, 0, rows, cols)));
    }

    private static void vector(ParameterStore.Builder store, String local, String global, int size) {
        store.declare(local, Kind.REPLICATED, Shape.of(size), false, List.of(Piece.whole(global, 0, size)));
    }
}
