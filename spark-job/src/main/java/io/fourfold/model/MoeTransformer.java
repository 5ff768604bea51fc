package io.fourfold.model;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.ModelConfig;
import io.fourfold.data.Batch;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import io.fourfold.metrics.StepMetrics.LayerLoad;
import io.fourfold.parallel.FixedOrderSums;
import io.fourfold.parallel.ProcessGroups;
import io.fourfold.precision.Recipe;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * A decoder with dense and Mixture-of-Experts blocks on one rank. A training step is: {@link #beginStep},
 * {@link #forwardBackward} with all micro-batches, reduction of the gradients (plain sums: they are already scaled) and the
 * optimizer (not here), {@link #endStep} before or after it. With expert or pipeline parallelism every call that runs the model is collective
 * over those groups.
 *
 * <p>Activations live from a micro-batch's forward to the end of its backward. Prepared weights live from
 * {@link #beginStep} to the next one.
 */
public final class MoeTransformer implements AutoCloseable {
    private final ModelConfig model;
    private final Backend backend;
    private final Recipe recipe;
    private final Recomputation recompute;
    private final ParameterStore store;
    private final Pipeline pipeline;
    private final MoeState moe;
    private final BatchUpload upload;
    private final PreparedWeights prepared;
    private final boolean lends;
    private final boolean repeats;
    /** Parameters whose gradients hold nothing until the step's first micro-batch writes them. */
    private Set<String> unwritten = Set.of();

    private FirstWrites firstWrites = new FirstWrites();

    private @Nullable TensorScope reports;
    private boolean ran;
    private @Nullable GradientProgress progress;

    MoeTransformer(
            ModelConfig model,
            Backend backend,
            Recipe recipe,
            ParameterStore store,
            Pipeline pipeline,
            MoeState moe,
            SequenceParallel ranks,
            Recomputation recompute,
            boolean lends,
            boolean repeats) {
        this.lends = lends;
        this.repeats = repeats && backend.repeats();
        this.model = model;
        this.recompute = recompute;
        this.backend = backend;
        this.recipe = recipe;
        this.store = store;
        this.pipeline = pipeline;
        this.moe = moe;
        this.upload = new BatchUpload(backend, ranks, model.vocabSize());
        this.prepared =
                new PreparedWeights(backend, recipe, pipeline.chunks(), store.weightMagnitudes(), store.codes());
    }

    /**
     * Declares and allocates the parameters (zero until {@link #initialize} or a checkpoint fills them).
     *
     * @throws IllegalArgumentException when the mapping or recipe does not fit the model
     */
    public static MoeTransformer create(FourfoldConfig config, Backend backend, ProcessGroups groups) {
        return ModelAssembly.create(config, backend, groups);
    }

    public ParameterStore parameters() {
        return store;
    }

    public ModelConfig config() {
        return model;
    }

    /** Fills the parameters; each value is a pure function of (seed, global tensor name, global element index). */
    public void initialize(long seed) {
        new ParameterInitializer(model, backend, seed).fill(store);
        parametersChanged();
    }

    /**
     * Must be called after anything but the optimizer step (which {@link #endStep} follows) changed parameters, which must all be
     * whole on this rank then.
     */
    public void parametersChanged() {
        prepared.markStale();
        store.codes().setCurrent(false);
    }

    /** {@link #parametersChanged()} after loading the state of a step, whose formats evaluation then uses. */
    public void parametersChanged(int step) {
        parametersChanged();
        prepared.evaluateAt(step);
    }

    /** Prepares (quantizes) the weights and clears the gradients, once per optimizer step. */
    public void beginStep(StepContext step) {
        if (reports != null) {
            reports.close();
        }
        reports = backend.scope(Region.WORKSPACE);
        moe.beginStep();
        firstWrites = prepared.forStep(step);
        unwritten = firstWrites.names();
        store.clearGradients(backend, unwritten);
        ran = false;
    }

    /** {@link #forwardBackward(List, StepContext)} of one micro-batch. */
    public MicroBatchResult forwardBackward(Batch batch, StepContext step) {
        return forwardBackward(List.of(batch), step).get(0);
    }

    /**
     * Runs micro-batches and adds their gradients; summed over micro-batches and ranks they are the step's. Pipeline ranks
     * get the micro-batches of the whole step at once; each result then has the part of this rank's layers.
     */
    public List<MicroBatchResult> forwardBackward(List<Batch> batches, StepContext step) {
        if (ran && pipeline.ranks() > 1) {
            throw new IllegalStateException("a pipeline runs all micro-batches of a step in one call");
        }
        ran = true;
        List<MicroBatchResult> results = run(batches, step, null, progress);
        if (model.tieEmbeddings()) {
            pipeline.sumTiedGradients(store);
        }
        return results;
    }

    /**
     * Tells from now on during {@link #forwardBackward}, which then has to get the micro-batches of the whole step at once,
     * which gradients are complete on this rank.
     */
    public void listen(GradientListener listener) {
        progress = new GradientProgress(store, listener);
    }

    private List<MicroBatchResult> run(
            List<Batch> batches,
            StepContext step,
            @Nullable NonFiniteInspector inspector,
            @Nullable GradientProgress told) {
        if (reports == null || !prepared.readyFor(step)) {
            throw new IllegalStateException("no prepared weights for step " + step.step() + ": call beginStep first");
        }
        List<MicroBatch> microBatches = new ArrayList<>();
        for (Batch batch : batches) {
            check(batch);
            MicroBatchReport report = moe.report(reports, batch.samples(), localTokens(batch));
            microBatches.add(new MicroBatch(
                    upload,
                    recipe.activationType(),
                    batch,
                    step,
                    report,
                    null,
                    inspector,
                    recompute,
                    lends() ? unwritten : Set.of()));
            unwritten = Set.of();
        }
        store.gradientSquares().begin(batches.size() == 1);
        if (repeats && inspector == null && step.telemetry() == null) {
            RepeatedMicroBatch.Shared shared = new RepeatedMicroBatch.Shared(
                    pipeline.chunks().get(0),
                    firstWrites,
                    prepared.operands(),
                    store.gradientSquares(),
                    batches.size(),
                    recipe.isSwitched(step.step()));
            pipeline.trainAlone(microBatches, shared, told);
        } else {
            pipeline.train(microBatches, told);
        }
        return microBatches.stream()
                .map(microBatch ->
                        moe.result(microBatch.report(), microBatch.batch(), localTokens(microBatch.batch()), step))
                .toList();
    }

    /** A pipeline has several micro-batches between forward and backward, which all need their memory. */
    private boolean lends() {
        return lends && pipeline.ranks() == 1 && pipeline.chunks().size() == 1;
    }

    /**
     * After the last micro-batch of a step: moves the expert biases and returns the step's load per MoE layer of the whole model, both
     * from counts summed over all ranks (collective).
     */
    public List<LayerLoad> endStep() {
        prepared.markStale();
        return pipeline.merge(model, moe.endStep());
    }

    /** Sum of the token losses of a batch with the recipe's fprop formats; no gradients. */
    public double evaluate(Batch batch) {
        return evaluate(batch, EvaluationPrecision.RECIPE);
    }

    /** Sum of the token losses of a batch; no gradients. Collective over the ranks that hold its tokens. */
    public double evaluate(Batch batch, EvaluationPrecision precision) {
        return evaluate(List.of(batch), precision)[0];
    }

    /** Sum of the token losses of each batch, the same on every pipeline rank; no gradients. */
    public double[] evaluate(List<Batch> batches, EvaluationPrecision precision) {
        double[] sums = new double[batches.size()];
        try (TensorScope scope = backend.scope(Region.WORKSPACE)) {
            forward(batches, precision, (microBatch, pass, x) -> {
                Tensor lossPerToken = scope.allocate(DType.FP32, pass.tokens());
                requireHead().loss(pass, x, lossPerToken, null);
                for (float loss : backend.download(lossPerToken)) {
                    sums[microBatch] += loss;
                }
            });
        }
        return FixedOrderSums.sum(backend, upload.ranks().holders(), pipeline.fromLastStage(sums));
    }

    private int localTokens(Batch batch) {
        return upload.ranks().placement().tokens(batch.samples(), batch.sequenceLength());
    }

    /** Logits of one sequence as a single document, row-major [tokens.length, V]. */
    public float[] logits(int[] tokens, EvaluationPrecision precision) {
        return logits(tokens, 0, precision);
    }

    /** Logits with the recipe's fprop formats. */
    public float[] logits(int[] tokens) {
        return logits(tokens, EvaluationPrecision.RECIPE);
    }

    /** Logits after the last token only, [V]. */
    public float[] lastLogits(int[] tokens, EvaluationPrecision precision) {
        return logits(tokens, tokens.length - 1, precision);
    }

    private float[] logits(int[] tokens, int firstRow, EvaluationPrecision precision) {
        if (pipeline.ranks() > 1) {
            throw new UnsupportedOperationException("logits of a model without pipeline parallelism only");
        }
        Batch batch = Sequences.single(tokens);
        try (TensorScope scope = backend.scope(Region.WORKSPACE)) {
            Tensor logits = scope.allocate(DType.FP32, tokens.length - firstRow, model.vocabSize());
            forward(
                    List.of(batch),
                    precision,
                    (microBatch, pass, x) -> requireHead().logits(pass, x.rows(firstRow, tokens.length), logits));
            return backend.download(logits);
        }
    }

    private OutputHead requireHead() {
        List<ModelChunk> chunks = pipeline.chunks();
        return chunks.get(chunks.size() - 1).requireHead();
    }

    private void forward(List<Batch> batches, EvaluationPrecision precision, EvaluationPipeline.Ending ending) {
        StepContext step = prepared.forEvaluation(precision);
        try (TensorScope scope = backend.scope(Region.ACTIVATIONS);
                PassMemory memory = lends() && !store.gradientsNeeded()
                        ? PassMemory.lent(backend, store.parameters())
                        : PassMemory.owned(backend)) {
            memory.workInForward();
            List<Pass> passes = new ArrayList<>();
            for (Batch batch : batches) {
                check(batch);
                DeviceBatch device = upload.upload(batch, scope);
                passes.add(new Pass(backend, recipe.activationType(), device, step, scope, memory));
            }
            pipeline.evaluate(passes, ending);
        }
    }

    /** Largest activation memory that micro-batches held at once so far, in device bytes. */
    public long activationBytes() {
        return pipeline.activationBytes();
    }

    /**
     * Repeats a micro-batch looking at every tensor, after a non-finite loss or gradient norm was seen; spoils the
     * gradients. Collective like {@link #forwardBackward}. Empty when this rank finds nothing.
     */
    public Optional<NonFiniteReport> locate(Batch batch, StepContext step) {
        NonFiniteInspector inspector = new NonFiniteInspector(backend);
        for (Parameter parameter : store.parameters()) {
            inspector.inspect("parameter", -1, parameter.name(), parameter.weight());
        }
        beginStep(step);
        List<MicroBatchResult> unused = run(List.of(batch), step, inspector, null);
        for (Parameter parameter : store.parameters()) {
            inspector.inspect("backward", -1, parameter.name() + " gradient", parameter.grad());
        }
        return inspector.first();
    }

    private void check(Batch batch) {
        for (int token : batch.tokens()) {
            if (token < 0 || token >= model.vocabSize()) {
                throw new IllegalArgumentException("token " + token + " is outside the vocabulary of "
                        + model.vocabSize() + "; the data was prepared with another tokenizer or model.vocab_size is"
                        + " too small");
            }
        }
    }

    /** Releases parameters, gradients and prepared weights. */
    @Override
    public void close() {
        if (reports != null) {
            reports.close();
        }
        prepared.close();
        moe.close();
        store.close();
    }
}
