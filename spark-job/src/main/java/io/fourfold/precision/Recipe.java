package io.fourfold.precision;

import io.fourfold.config.RecipeConfig;
import io.fourfold.config.RecipeConfig.Fp8Scaling;
import io.fourfold.config.RecipeConfig.LateSwitch;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import io.fourfold.kernels.op.OperandSpec.Format;
import io.fourfold.kernels.op.OperandSpec.Rounding;
import io.fourfold.kernels.op.WeightCodeOps;
import io.fourfold.kernels.tensor.DType;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * Decides the format of every GEMM operand of every linear layer at every step; layers ask it and decide nothing
 * themselves. Embedding, output head, router, norms and attention are outside: activation type or FP32.
 *
 * <p>The NVFP4 recipe is section 4 of arXiv:2509.25149: two-dimensional weight blocks, stochastic rounding of gradients,
 * random Hadamard transform of both wgrad operands, some linear layers in BF16, and a switch to BF16 late in training
 * (section 4.5). The FP8 recipe is that paper's baseline: E4M3 with 128x128 weight blocks and 1x128 blocks elsewhere.
 */
public final class Recipe {
    private final RecipeConfig config;
    private final int layers;
    private final Set<LinearKind> highPrecisionKinds;
    private final LinearPrecision low;

    private Recipe(RecipeConfig config, int layers, Set<LinearKind> highPrecisionKinds) {
        this.config = config;
        this.layers = layers;
        this.highPrecisionKinds = highPrecisionKinds;
        this.low = switch (config.kind()) {
            case FP32 -> LinearPrecision.uniform(OperandSpec.FP32);
            case BF16 -> LinearPrecision.uniform(OperandSpec.BF16);
            case FP8 -> fp8(config);
            case NVFP4 -> nvfp4(config);
            case MXFP4 -> mxfp4(config);
        };
    }

    /**
     * @param layers blocks of the model
     * @throws IllegalArgumentException with all problems when the high-precision settings do not fit the model
     */
    public static Recipe of(RecipeConfig config, int layers) {
        List<String> problems = new ArrayList<>();
        Set<LinearKind> kinds = EnumSet.noneOf(LinearKind.class);
        for (String module : config.highPrecision().modules()) {
            Arrays.stream(LinearKind.values())
                    .filter(kind -> kind.key().equals(module))
                    .findFirst()
                    .ifPresentOrElse(
                            kinds::add,
                            () -> problems.add("no linear layer is called '" + module + "'; use "
                                    + Arrays.stream(LinearKind.values())
                                            .map(LinearKind::key)
                                            .collect(Collectors.joining(", "))));
        }
        int kept = config.highPrecision().first() + config.highPrecision().last();
        if (kept > layers) {
            problems.add("high_precision first + last = " + kept + " blocks, but the model has " + layers
                    + "; lower them or use the bf16 recipe");
        }
        if (!problems.isEmpty()) {
            throw new IllegalArgumentException("recipe.high_precision: " + String.join("; ", problems));
        }
        return new Recipe(config, layers, kinds);
    }

    /** The recipe of the same model with all linear layers in the activation type: evaluation without quantization. */
    public LinearPrecision unquantized() {
        return LinearPrecision.uniform(highPrecisionSpec());
    }

    /**
     * @param layer 0-based block
     * @param step training step, for the late switch
     */
    public LinearPrecision linear(int layer, LinearKind kind, int step) {
        OperandSpec high = highPrecisionSpec();
        if (isHighPrecision(layer, kind)) {
            return LinearPrecision.uniform(high);
        }
        if (!isSwitched(step)) {
            return low;
        }
        return switch (config.lateSwitch().direction()) {
            case FORWARD -> low.withForward(high);
            case BACKWARD -> low.withBackward(high);
            case BOTH -> LinearPrecision.uniform(high);
        };
    }

    /** How the weights of low-precision layers are coded where forward and backward read the same codes; else null. */
    public @Nullable OperandSpec codedWeights() {
        return WeightCodeOps.coded(low.fpropW()) && low.fpropW().equals(low.dgradW()) ? low.fpropW() : null;
    }

    /** True when the layer is held out of the low-precision recipe for the whole run. */
    public boolean isHighPrecision(int layer, LinearKind kind) {
        if (layer < 0 || layer >= layers) {
            throw new IllegalArgumentException("layer " + layer + " of a model with " + layers + " blocks");
        }
        return layer < config.highPrecision().first()
                || layer >= layers - config.highPrecision().last()
                || highPrecisionKinds.contains(kind);
    }

    /** True from the step of the late switch on. */
    public boolean isSwitched(int step) {
        LateSwitch late = config.lateSwitch();
        return late.step() >= 0 && step >= late.step();
    }

    /** Type of the residual stream and all activations: FP32 in the exact reference recipe, otherwise BF16. */
    public DType activationType() {
        return config.kind() == RecipeConfig.Kind.FP32 ? DType.FP32 : DType.BF16;
    }

    /** True where operands of weights have a scale for a whole matrix, for which its largest magnitude is needed. */
    public boolean scalesWholeWeights() {
        return low.fpropW().blocks() == Blocks.TENSOR || low.fpropW().format() == Format.NVFP4;
    }

    /** True on the steps whose quantization statistics are collected. */
    public boolean isTelemetryStep(int step) {
        return low.fpropX().quantized() && config.telemetryEvery() > 0 && step % config.telemetryEvery() == 0;
    }

    private OperandSpec highPrecisionSpec() {
        return config.kind() == RecipeConfig.Kind.FP32 ? OperandSpec.FP32 : OperandSpec.BF16;
    }

    private static LinearPrecision fp8(RecipeConfig config) {
        if (config.fp8Scaling() == Fp8Scaling.TENSOR) {
            return LinearPrecision.uniform(OperandSpec.of(Format.FP8_E4M3, Blocks.TENSOR));
        }
        OperandSpec tokens = OperandSpec.of(Format.FP8_E4M3, Blocks.B1X128);
        OperandSpec weight = OperandSpec.of(Format.FP8_E4M3, Blocks.B128X128);
        return new LinearPrecision(tokens, weight, tokens, weight, tokens, tokens);
    }

    private static LinearPrecision nvfp4(RecipeConfig config) {
        OperandSpec activation = OperandSpec.of(Format.NVFP4, Blocks.B1X16).withFormula(config.scaleFormula());
        OperandSpec weight = config.weight2d()
                ? OperandSpec.of(Format.NVFP4, Blocks.B16X16).withFormula(config.scaleFormula())
                : activation;
        OperandSpec gradient = activation.withRounding(gradientRounding(config));
        return new LinearPrecision(
                activation,
                weight,
                gradient,
                weight,
                gradient.withHadamard(config.hadamard()),
                activation.withHadamard(config.hadamard()));
    }

    private static LinearPrecision mxfp4(RecipeConfig config) {
        OperandSpec nearest = OperandSpec.of(Format.MXFP4, Blocks.B1X32);
        OperandSpec gradient = nearest.withRounding(gradientRounding(config));
        return new LinearPrecision(nearest, nearest, gradient, nearest, gradient, nearest);
    }

    private static Rounding gradientRounding(RecipeConfig config) {
        return config.stochasticRounding() ? Rounding.STOCHASTIC : Rounding.NEAREST_EVEN;
    }
}
