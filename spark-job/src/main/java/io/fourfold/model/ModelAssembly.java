package io.fourfold.model;

import io.fourfold.config.AttentionConfig;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.ModelConfig;
import io.fourfold.config.MoeConfig;
import io.fourfold.config.RecipeConfig;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.op.RowFormat;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import io.fourfold.model.Parameter.Kind;
import io.fourfold.moe.ExpertLoad;
import io.fourfold.moe.Router;
import io.fourfold.moe.TokenDispatcher;
import io.fourfold.parallel.Axis;
import io.fourfold.parallel.ParallelMapping;
import io.fourfold.parallel.ProcessGroups;
import io.fourfold.parallel.Stage;
import io.fourfold.parallel.StageLayout;
import io.fourfold.precision.Recipe;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Puts a {@link MoeTransformer} together: declarations, parameters, routers, blocks. */
final class ModelAssembly {
    private static final Logger LOG = LoggerFactory.getLogger(ModelAssembly.class);

    private ModelAssembly() {}

    static MoeTransformer create(FourfoldConfig config, Backend backend, ProcessGroups groups) {
        ModelConfig model = config.model();
        check(model, groups.mapping());
        Recipe recipe = Recipe.of(config.recipe(), model.layers());
        Communicator expertGroup = groups.get(Axis.EP);
        Communicator expertTensorGroup = groups.get(Axis.ETP);
        int localExperts = model.moe() == null ? 0 : model.moe().experts() / expertGroup.size();
        StageLayout layout = StageLayout.of(model, config.parallel());
        List<Stage> stages = layout.of(groups.get(Axis.PP).rank());
        SequenceParallel ranks = SequenceParallel.of(groups);
        ParameterDeclarations declarations = new ParameterDeclarations(
                model,
                stages,
                ranks.tensor().rank(),
                ranks.tensor().size(),
                expertGroup.rank() * localExperts,
                localExperts,
                expertTensorGroup.rank(),
                expertTensorGroup.size());
        ParameterStore.Builder builder = new ParameterStore.Builder()
                .buckets(config.parallel().gradients().bucketElements());
        declarations.declare(builder);
        if (config.recipe().kind().splitsMasters()) {
            builder = builder.splitMasters();
        }
        if (groups.get(Kind.EXPERT.replicas()).size() == 1) {
            builder = builder.keepGradientSquares();
        }
        if (recipe.scalesWholeWeights()) {
            builder = builder.keepWeightMagnitudes();
        }
        CodedWeights coded = CodedWeights.of(config, recipe, stages, groups);
        if (coded != null) {
            builder = builder.code(coded);
        }
        ParameterStore store = builder.build(backend, padding(groups.mapping()), replicas(groups));
        MoeState moe = moeState(model, stages, backend, groups, store);
        TokenDispatcher dispatcher = model.moe() == null
                ? null
                : new TokenDispatcher(
                        backend,
                        expertGroup,
                        expertTensorGroup,
                        model.moe().experts(),
                        model.moe().topK(),
                        config.parallel().dispatchUnit(),
                        rowFormat(config.recipe().dispatch()));
        BlockFactory factory = new BlockFactory(
                model,
                recipe,
                backend,
                store,
                declarations,
                ranks,
                config.parallel().contextExchange(),
                expertTensorGroup,
                dispatcher,
                moe.routers());
        Pipeline pipeline = new Pipeline(layout, factory.chunks(stages), groups.get(Axis.PP), backend);
        Recomputation recompute = Recomputation.of(config.train().recompute());
        return new MoeTransformer(
                model,
                backend,
                recipe,
                store,
                pipeline,
                moe,
                ranks,
                recompute,
                config.train().lendGradients(),
                config.train().cudaGraphs() && alone(backend, groups));
    }

    /** A rank that runs micro-batches without other ranks. */
    private static boolean alone(Backend backend, ProcessGroups groups) {
        ParallelMapping mapping = groups.mapping();
        boolean alone = mapping.tensor() * mapping.context() * mapping.pipeline() == 1
                && mapping.expert() * mapping.expertTensor() == 1;
        if (!alone && backend.repeats() && groups.rank() == 0) {
            LOG.info("no CUDA graphs: with this mapping ranks exchange data during a micro-batch");
        }
        return alone;
    }

    private static Map<Kind, Integer> padding(ParallelMapping mapping) {
        Map<Kind, Integer> padding = new EnumMap<>(Kind.class);
        for (Kind kind : Kind.values()) {
            padding.put(kind, ParameterStore.alignment(mapping.size(kind.replicas())));
        }
        return padding;
    }

    private static Map<Kind, Communicator> replicas(ProcessGroups groups) {
        Map<Kind, Communicator> replicas = new EnumMap<>(Kind.class);
        for (Kind kind : Kind.values()) {
            replicas.put(kind, groups.get(kind.replicas()));
        }
        return replicas;
    }

    private static @Nullable RowFormat rowFormat(RecipeConfig.Dispatch dispatch) {
        return switch (dispatch) {
            case EXACT -> null;
            case FP8 -> RowFormat.FP8;
            case NVFP4 -> RowFormat.NVFP4;
        };
    }

    private static MoeState moeState(
            ModelConfig model, List<Stage> stages, Backend backend, ProcessGroups groups, ParameterStore store) {
        TensorScope scope = backend.scope(Region.PARAMETERS);
        MoeConfig moe = model.moe();
        List<Integer> layers = moeLayers(model, stages);
        if (moe == null) {
            return new MoeState(backend, null, layers, List.of(), List.of(), null, null, scope);
        }
        List<Router> routers = new ArrayList<>();
        List<@Nullable Tensor> biases = new ArrayList<>();
        List<@Nullable Tensor> previousLoads = new ArrayList<>();
        for (int layer : layers) {
            biases.add(store.state().get(ParameterNames.expertBias(layer)));
            previousLoads.add(store.state().get(ParameterNames.previousLoad(layer)));
            routers.add(new Router(
                    backend, moe, biases.get(biases.size() - 1), previousLoads.get(previousLoads.size() - 1)));
        }
        ExpertLoad load = new ExpertLoad(
                backend,
                moe,
                groups.get(Axis.STAGE),
                scope.zeros(DType.FP32, layers.size(), moe.experts()),
                biases,
                previousLoads);
        Tensor stepLoads = Router.needsPreviousLoad(moe) ? scope.zeros(DType.FP32, layers.size(), moe.experts()) : null;
        return new MoeState(backend, moe, layers, routers, previousLoads, stepLoads, load, scope);
    }

    /** Blocks with experts on the given stages, in their order. */
    static List<Integer> moeLayers(ModelConfig model, List<Stage> stages) {
        return stages.stream()
                .flatMapToInt(stage -> IntStream.range(stage.firstLayer(), stage.endLayer()))
                .filter(model::isMoeLayer)
                .boxed()
                .toList();
    }

    private static void check(ModelConfig model, ParallelMapping mapping) {
        List<String> problems = new ArrayList<>();
        AttentionConfig attention = model.attention();
        splits(problems, mapping, attention.heads(), "attention heads");
        splits(problems, mapping, attention.kvHeads(), "key/value heads");
        splits(problems, mapping, model.vocabSize(), "vocabulary entries");
        if (model.ffn() != null) {
            splits(problems, mapping, model.ffn().intermediateSize(), "inner columns of the dense FFN");
        }
        MoeConfig moe = model.moe();
        if (moe == null && mapping.expert() * mapping.expertTensor() != 1) {
            problems.add("expert_parallel_size and expert_tensor_parallel_size need a model with experts");
        }
        if (moe != null && moe.intermediateSize() % mapping.expertTensor() != 0) {
            problems.add("expert_tensor_parallel_size " + mapping.expertTensor() + " does not divide the inner width "
                    + moe.intermediateSize() + " of an expert");
        }
        if (moe != null && moe.experts() % mapping.expert() != 0) {
            problems.add("expert_parallel_size " + mapping.expert() + " does not divide " + moe.experts() + " experts");
        }
        if (moe != null && moe.sharedExpert() != null) {
            splits(problems, mapping, moe.sharedExpert().intermediateSize(), "inner columns of the shared expert");
        }
        if (moe != null && moe.experts() > LinearFormats.MAX_EXPERTS) {
            problems.add("more than " + LinearFormats.MAX_EXPERTS + " experts: " + moe.experts());
        }
        if (!problems.isEmpty()) {
            throw new IllegalArgumentException(
                    "model " + model.name() + " cannot run on this mapping: " + String.join("; ", problems));
        }
    }

    private static void splits(List<String> problems, ParallelMapping mapping, int size, String what) {
        if (size % mapping.tensor() != 0) {
            problems.add("tensor_parallel_size " + mapping.tensor() + " does not divide " + size + " " + what);
        }
    }
}
