package io.fourfold.precision;

import static io.fourfold.kernels.op.OperandSpec.Blocks.B128X128;
import static io.fourfold.kernels.op.OperandSpec.Blocks.B16X16;
import static io.fourfold.kernels.op.OperandSpec.Blocks.B1X128;
import static io.fourfold.kernels.op.OperandSpec.Blocks.B1X16;
import static io.fourfold.kernels.op.OperandSpec.Blocks.B1X32;
import static io.fourfold.kernels.op.OperandSpec.Blocks.TENSOR;
import static io.fourfold.kernels.op.OperandSpec.Format.FP8_E4M3;
import static io.fourfold.kernels.op.OperandSpec.Format.MXFP4;
import static io.fourfold.kernels.op.OperandSpec.Format.NVFP4;
import static io.fourfold.kernels.op.OperandSpec.Rounding.STOCHASTIC;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.config.ConfigLoader;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.ScaleFormula;
import io.fourfold.kernels.tensor.DType;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

class RecipeTest {
    private static final OperandSpec FP4 = OperandSpec.of(NVFP4, B1X16);
    private static final OperandSpec FP4_SR = FP4.withRounding(STOCHASTIC);
    private static final OperandSpec FP4_2D = OperandSpec.of(NVFP4, B16X16);
    private static final OperandSpec BF16 = OperandSpec.BF16;
    private static final OperandSpec MX = OperandSpec.of(MXFP4, B1X32);
    private static final OperandSpec FP8 = OperandSpec.of(FP8_E4M3, B1X128);
    private static final LinearPrecision NVFP4_RECIPE =
            new LinearPrecision(FP4, FP4_2D, FP4_SR, FP4_2D, FP4_SR.withHadamard(true), FP4.withHadamard(true));

    /** What the QKV layer of block 1 of 4 gets at step 10. */
    private record Row(String name, LinearPrecision expected, String... settings) {}

    private static final Row[] TABLE = {
        new Row("fp32", LinearPrecision.uniform(OperandSpec.FP32), "recipe.kind=fp32"),
        new Row("bf16", LinearPrecision.uniform(BF16), "recipe.kind=bf16"),
        new Row(
                "fp8 block",
                new LinearPrecision(
                        FP8, OperandSpec.of(FP8_E4M3, B128X128), FP8, OperandSpec.of(FP8_E4M3, B128X128), FP8, FP8),
                "recipe.kind=fp8"),
        new Row(
                "fp8 tensor",
                LinearPrecision.uniform(OperandSpec.of(FP8_E4M3, TENSOR)),
                "recipe.kind=fp8",
                "recipe.fp8_scaling=tensor"),
        new Row("nvfp4", NVFP4_RECIPE, "recipe.kind=nvfp4"),
        new Row(
                "nvfp4 without stochastic rounding",
                new LinearPrecision(FP4, FP4_2D, FP4, FP4_2D, FP4.withHadamard(true), FP4.withHadamard(true)),
                "recipe.kind=nvfp4",
                "recipe.stochastic_rounding=false"),
        new Row(
                "nvfp4 without hadamard",
                new LinearPrecision(FP4, FP4_2D, FP4_SR, FP4_2D, FP4_SR, FP4),
                "recipe.kind=nvfp4",
                "recipe.hadamard=false"),
        new Row(
                "nvfp4 with weight rows",
                new LinearPrecision(FP4, FP4, FP4_SR, FP4, FP4_SR.withHadamard(true), FP4.withHadamard(true)),
                "recipe.kind=nvfp4",
                "recipe.weight2d=false"),
        new Row(
                "nvfp4 with the paper's scales",
                map(NVFP4_RECIPE, spec -> spec.withFormula(ScaleFormula.PAPER)),
                "recipe.kind=nvfp4",
                "recipe.scale_formula=paper"),
        new Row(
                "mxfp4",
                new LinearPrecision(MX, MX, MX.withRounding(STOCHASTIC), MX, MX.withRounding(STOCHASTIC), MX),
                "recipe.kind=mxfp4"),
        new Row(
                "first blocks held",
                LinearPrecision.uniform(BF16),
                "recipe.kind=nvfp4",
                "recipe.high_precision.first=2"),
        new Row("last blocks held", NVFP4_RECIPE, "recipe.kind=nvfp4", "recipe.high_precision.last=2"),
        new Row(
                "more last blocks held",
                LinearPrecision.uniform(BF16),
                "recipe.kind=nvfp4",
                "recipe.high_precision.last=3"),
        new Row(
                "module held",
                LinearPrecision.uniform(BF16),
                "recipe.kind=nvfp4",
                "recipe.high_precision.modules=[qkv]"),
        new Row("other module held", NVFP4_RECIPE, "recipe.kind=nvfp4", "recipe.high_precision.modules=[expert_down]"),
        new Row("before the switch", NVFP4_RECIPE, "recipe.kind=nvfp4", "recipe.late_switch={step: 11}"),
        new Row(
                "forward switched",
                new LinearPrecision(BF16, BF16, FP4_SR, FP4_2D, FP4_SR.withHadamard(true), FP4.withHadamard(true)),
                "recipe.kind=nvfp4",
                "recipe.late_switch={step: 10, direction: forward}"),
        new Row(
                "backward switched",
                new LinearPrecision(FP4, FP4_2D, BF16, BF16, BF16, BF16),
                "recipe.kind=nvfp4",
                "recipe.late_switch={step: 10, direction: backward}"),
        new Row(
                "both switched",
                LinearPrecision.uniform(BF16),
                "recipe.kind=nvfp4",
                "recipe.late_switch={step: 3, direction: both}"),
    };

    @TestFactory
    Stream<DynamicTest> formatsOfALinearLayer() {
        return Stream.of(TABLE)
                .map(row -> DynamicTest.dynamicTest(
                        row.name(),
                        () -> assertThat(recipe(row.settings()).linear(1, LinearKind.QKV, 10))
                                .isEqualTo(row.expected())));
    }

    @Test
    void activationsAreFp32OnlyInTheExactRecipe() {
        assertThat(recipe("recipe.kind=fp32").activationType()).isEqualTo(DType.FP32);
        assertThat(recipe("recipe.kind=bf16").activationType()).isEqualTo(DType.BF16);
        assertThat(recipe("recipe.kind=nvfp4").activationType()).isEqualTo(DType.BF16);
    }

    @Test
    void telemetryIsForQuantizedRecipesOnSampledSteps() {
        Recipe nvfp4 = recipe("recipe.kind=nvfp4", "recipe.telemetry_every=5");
        assertThat(nvfp4.isTelemetryStep(10)).isTrue();
        assertThat(nvfp4.isTelemetryStep(11)).isFalse();
        assertThat(recipe("recipe.kind=nvfp4", "recipe.telemetry_every=0").isTelemetryStep(10))
                .isFalse();
        assertThat(recipe("recipe.kind=bf16", "recipe.telemetry_every=5").isTelemetryStep(10))
                .isFalse();
    }

    @Test
    void aLayerOutsideTheModelIsAnError() {
        assertThatThrownBy(() -> recipe("recipe.kind=nvfp4").linear(4, LinearKind.QKV, 0))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("layer 4 of a model with 4 blocks");
    }

    @Test
    void allProblemsAreNamedAtOnce() {
        var config = config("recipe.kind=nvfp4").recipe();
        var wrong = new io.fourfold.config.RecipeConfig(
                config.kind(),
                new io.fourfold.config.RecipeConfig.HighPrecision(3, 2, List.of("qkvx")),
                config.scaleFormula(),
                true,
                true,
                true,
                config.fp8Scaling(),
                config.dispatch(),
                config.lateSwitch(),
                0);
        assertThatThrownBy(() -> Recipe.of(wrong, 4))
                .hasMessageContaining("'qkvx'")
                .hasMessageContaining("first + last = 5");
    }

    private static LinearPrecision map(LinearPrecision p, java.util.function.UnaryOperator<OperandSpec> change) {
        return new LinearPrecision(
                change.apply(p.fpropX()),
                change.apply(p.fpropW()),
                change.apply(p.dgradDy()),
                change.apply(p.dgradW()),
                change.apply(p.wgradDy()),
                change.apply(p.wgradX()));
    }

    private static Recipe recipe(String... settings) {
        return Recipe.of(config(settings).recipe(), 4);
    }

    private static FourfoldConfig config(String... settings) {
        List<String> sets = new ArrayList<>(List.of(
                "model.name=test",
                "model.layers=4",
                "model.hidden_size=16",
                "model.vocab_size=23",
                "model.attention={heads: 4, kv_heads: 2, head_dim: 4}",
                "model.ffn={intermediate_size: 20}"));
        sets.addAll(Arrays.asList(settings));
        return ConfigLoader.load(List.of(), sets).config();
    }
}
