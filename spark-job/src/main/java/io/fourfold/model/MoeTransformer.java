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
import io.fourfold.parallel.ProcessGroups;
import io.fourfold.precision.Recipe;
import java.util.List;
import java.util.Optional;
import java.util.function.BiConsumer;
import org.jspecify.annotations.Nullable;

/**
 * A decoder with dense and Mixture-of-Experts blocks on one rank. A training step is: {@link #beginStep},
 * {@link #forwardBackward} for each micro-batch, reduction of the gradients (plain sums: they are already scaled) and the
 * optimizer (not here), {@link #endStep}. With expert parallelism every call that runs the model is collective over the EP
 * group.
 *
 * <p>Activations live from a micro-batch's forward to the end of its backward. Prepared weights live from
 * {@link #beginStep} to the next one.
 */
public final class MoeTransformer implements AutoCloseable {
    private final Backend backend;
    private final ModelConfig model;
    private final Recipe recipe;
    private final ParameterStore store;
    private final ModelChunk chunk;
    private final MoeState moe;
    private final PreparedWeights prepared;
    private @Nullable TensorScope reports;
    private long activationBytes;

    MoeTransformer(
            FourfoldConfig config,
            Backend backend,
            Recipe recipe,
            ParameterStore store,
            ModelChunk chunk,
            MoeState moe) {
        this.backend = backend;
        this.model = config.model();
        this.recipe = recipe;
        this.store = store;
        this.moe = moe;
        this.chunk = chunk;
        this.prepared = new PreparedWeights(backend, recipe, List.of(chunk));
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

    /** Must be called after anything but the optimizer step (which {@link #endStep} follows) changed parameters. */
    public void parametersChanged() {
        prepared.markStale();
    }

    /** {@link #parametersChanged()} after loading the state of a step, whose formats evaluation then uses. */
    public void parametersChanged(int step) {
        prepared.markStale();
        prepared.evaluateAt(step);
    }

    /** Zeroes the gradients and prepares (quantizes) the weights, once per optimizer step. */
    public void beginStep(StepContext step) {
        for (Parameter.Kind kind : Parameter.Kind.values()) {
            Tensor grads = store.flatGrads(kind);
            if (grads.elements() > 0) {
                backend.elementwise().fill(grads, 0f);
            }
        }
        if (reports != null) {
            reports.close();
        }
        reports = backend.scope(Region.WORKSPACE);
        moe.beginStep();
        prepared.forStep(step);
    }

    /** Runs one micro-batch and adds its gradients; summed over micro-batches and ranks they are the step's. */
    public MicroBatchResult forwardBackward(Batch batch, StepContext step) {
        return forwardBackward(batch, step, null);
    }

    private MicroBatchResult forwardBackward(Batch batch, StepContext step, @Nullable NonFiniteInspector inspector) {
        if (reports == null || !prepared.readyFor(step)) {
            throw new IllegalStateException("no prepared weights for step " + step.step() + ": call beginStep first");
        }
        check(batch);
        MicroBatchReport report = moe.report(reports, batch.samples(), batch.tokenCount());
        MicroBatch microBatch = new MicroBatch(backend, recipe.activationType(), batch, step, report, inspector);
        try (ChunkRun run = new ChunkRun(chunk, microBatch)) {
            Tensor unused = run.forward(null);
            activationBytes = Math.max(activationBytes, run.keptBytes());
            unused = run.backward();
        }
        return moe.result(report, batch, step);
    }

    /**
     * After the optimizer step: moves the expert biases and returns the step's load per MoE layer, both from counts summed
     * over all ranks (collective).
     */
    public List<LayerLoad> endStep() {
        prepared.markStale();
        return moe.endStep();
    }

    /** Sum of the token losses of a batch with the recipe's fprop formats; no gradients. */
    public double evaluate(Batch batch) {
        return evaluate(batch, EvaluationPrecision.RECIPE);
    }

    /** Sum of the token losses of a batch; no gradients. */
    public double evaluate(Batch batch, EvaluationPrecision precision) {
        check(batch);
        try (TensorScope scope = backend.scope(Region.WORKSPACE)) {
            Tensor lossPerToken = scope.allocate(DType.FP32, batch.tokenCount());
            forward(batch, precision, (pass, x) -> chunk.requireHead().loss(pass, x, lossPerToken, null));
            double sum = 0;
            for (float loss : backend.download(lossPerToken)) {
                sum += loss;
            }
            return sum;
        }
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
        Batch batch = Sequences.single(tokens);
        check(batch);
        try (TensorScope scope = backend.scope(Region.WORKSPACE)) {
            Tensor logits = scope.allocate(DType.FP32, tokens.length - firstRow, model.vocabSize());
            forward(
                    batch,
                    precision,
                    (pass, x) -> chunk.requireHead().logits(pass, x.rows(firstRow, tokens.length), logits));
            return backend.download(logits);
        }
    }

    private void forward(Batch batch, EvaluationPrecision precision, BiConsumer<Pass, Tensor> ending) {
        StepContext step = prepared.forEvaluation(precision);
        try (TensorScope scope = backend.scope(Region.ACTIVATIONS)) {
            DeviceBatch device = DeviceBatch.upload(batch, backend, scope);
            Pass pass = new Pass(backend, recipe.activationType(), device, step, false, scope, null, null);
            chunk.evaluate(pass, null, ending);
        }
    }

    /** Largest activation memory that a micro-batch held so far, in device bytes. */
    public long activationBytes() {
        return activationBytes;
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
        MicroBatchResult unused = forwardBackward(batch, step, inspector);
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
