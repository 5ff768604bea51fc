package io.fourfold.moe;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.config.CapacityConfig;
import io.fourfold.config.MoeConfig;
import io.fourfold.config.RouterConfig;
import io.fourfold.config.RouterConfig.AuxLossScope;
import io.fourfold.kernels.comm.InProcessWorld;
import io.fourfold.kernels.op.Activation;
import io.fourfold.kernels.op.RouterSpec.Score;
import java.util.List;
import org.assertj.core.data.Offset;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

class CapacityRuleTest {
    /** Two sequences of six tokens on one rank. */
    private static final LocalTokens TOKENS =
            new LocalTokens(2, 6, 6, 0, 12, InProcessWorld.create(1).get(0).group("holders", List.of(0)), null, null);

    @Test
    void withoutALimitNothingIsDroppedOrPadded() {
        CapacityRule rule = new CapacityRule(moe(null, AuxLossScope.MICRO_BATCH));
        assertThat(rule.drops()).isFalse();
        assertThat(rule.capacity(7)).isEqualTo(7);
        assertThat(rule.paddedRows(TOKENS)).isZero();
    }

    @Test
    void capacityIsRoundedUpAndNeverMoreThanTheTokens() {
        assertThat(rule(1.0, CapacityConfig.Scope.SUB_SEQUENCE, false).capacity(6))
                .isEqualTo(3);
        assertThat(rule(0.75, CapacityConfig.Scope.SUB_SEQUENCE, false).capacity(6))
                .isEqualTo(3);
        assertThat(rule(0.5, CapacityConfig.Scope.SUB_SEQUENCE, false).capacity(6))
                .isEqualTo(2);
        assertThat(rule(100, CapacityConfig.Scope.SUB_SEQUENCE, false).capacity(6))
                .isEqualTo(6);
    }

    @Test
    void paddingCoversEveryGroupOfTokens() {
        assertThat(rule(0.75, CapacityConfig.Scope.SUB_SEQUENCE, true).paddedRows(TOKENS))
                .as("12 tokens share ceil(12 * 2 / 4 * 0.75)")
                .isEqualTo(5);
        assertThat(rule(0.75, CapacityConfig.Scope.FULL_SEQUENCE, true).paddedRows(TOKENS))
                .as("two sequences with ceil(6 * 2 / 4 * 0.75) each")
                .isEqualTo(6);
    }

    @Test
    void balancedLoadCostsTheCoefficient() {
        for (AuxLossScope scope : AuxLossScope.values()) {
            BalanceLoss loss = new BalanceLoss(moe(null, scope));
            int tokens = 10;
            double load = loss.global() ? 1.0 / 4 : tokens * 2 / 4.0;
            double scoreSum = tokens / 4.0;
            assertThat(loss.factor(tokens, 1.0) * 4 * load * scoreSum)
                    .as("%s", scope)
                    .isCloseTo(0.3, Offset.offset(1e-12));
        }
    }

    private static CapacityRule rule(double factor, CapacityConfig.Scope scope, boolean pad) {
        CapacityConfig capacity = new CapacityConfig(factor, scope, CapacityConfig.Policy.PROBABILITY, pad);
        return new CapacityRule(moe(capacity, AuxLossScope.MICRO_BATCH));
    }

    private static MoeConfig moe(@Nullable CapacityConfig capacity, AuxLossScope scope) {
        RouterConfig router = new RouterConfig(Score.SOFTMAX_TOP_K, false, 1, 1, 1, 0, 0.3, scope, 0);
        return new MoeConfig(4, 2, 8, Activation.SWIGLU, router, null, capacity, List.of(), 1);
    }
}
