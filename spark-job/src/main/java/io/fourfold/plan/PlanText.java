package io.fourfold.plan;

import io.fourfold.config.Problem;
import io.fourfold.parallel.Axis;
import java.util.EnumSet;
import java.util.Locale;
import java.util.Set;

/** A plan for people. */
public final class PlanText {
    /** Follow from the others; left out for brevity. */
    private static final Set<Axis> COMBINED = EnumSet.of(Axis.TP_CP, Axis.DP_CP, Axis.ETP_EP, Axis.STAGE);

    private final Plan plan;
    private final StringBuilder out = new StringBuilder();

    private PlanText(Plan plan) {
        this.plan = plan;
    }

    /** Several lines, ending in a newline. */
    public static String of(Plan plan) {
        PlanText text = new PlanText(plan);
        text.model();
        text.ranks();
        text.memory();
        text.budget();
        text.traffic();
        text.obstacles();
        return text.out.toString();
    }

    private void line(String name, String format, Object... values) {
        out.append(String.format(Locale.ROOT, "  %-22s", name))
                .append(String.format(Locale.ROOT, format, values))
                .append('\n');
    }

    private void heading(String name) {
        out.append(name).append('\n');
    }

    private void model() {
        ParameterCount parameters = plan.parameters();
        heading("Model " + plan.model());
        line("parameters", "%s total, %s active a token", count(parameters.total()), count(parameters.active()));
        line(
                "",
                "of them %s in experts, %s embedding, %s head",
                count(parameters.experts()),
                count(parameters.embedding()),
                count(parameters.head()));
        FlopCount flops = plan.flopsPerToken();
        line("FLOPs a token", "%s causal = %s", Quantities.flops(flops.causal()), FlopCount.CAUSAL_FORMULA);
        line("", "%s full = %s", Quantities.flops(flops.full()), FlopCount.FULL_FORMULA);
        line("", "N_active = %,d, S = %,d", parameters.activeMatmul(), plan.sequenceLength());
        line(
                "recipe",
                "%s; %s of the linear weights in high precision",
                plan.precision().recipe(),
                Quantities.percent(plan.precision().highPrecisionShare()));
    }

    private void ranks() {
        RankLayout ranks = plan.ranks();
        heading("Ranks");
        line("mapping", "%s", ranks.mapping());
        for (RankLayout.AxisGroups groups : ranks.groups()) {
            if (COMBINED.contains(groups.axis())) {
                continue;
            }
            String first = groups.first().size() <= 8
                    ? groups.first().toString()
                    : groups.first().subList(0, 4) + "...";
            String leaving = groups.leavingHost() == 0 ? "" : ", " + groups.leavingHost() + " across hosts";
            line(
                    groups.axis().label(),
                    "%d %s of %d, rank 0 in %s%s",
                    groups.count(),
                    groups.count() == 1 ? "group" : "groups",
                    groups.size(),
                    first,
                    leaving);
        }
        if (ranks.worldSize() > ranks.ranksPerHost()) {
            line("", "(%d ranks a host assumed)", ranks.ranksPerHost());
        }
    }

    private void memory() {
        MemoryEstimate memory = plan.memory();
        heading("Memory of the fullest rank (" + (memory.onGpu() ? "GPU" : "CPU backend") + ")");
        boolean split = plan.precision().recipe().equals("bf16");
        line(
                "weights",
                "%12s  %s, %s parameters",
                Quantities.bytes(memory.weights()),
                split ? "BF16 and, sharded, the rest of FP32" : "FP32",
                count(plan.rankParameters()));
        String lent = memory.lent() == 0
                ? ""
                : "; " + Quantities.bytes(memory.lent()) + " of it lent to activations and workspace until backward"
                        + " writes it";
        line("gradients", "%12s  FP32%s", Quantities.bytes(memory.gradients()), lent);
        line("optimizer", "%12s  two FP32 moments, sharded", Quantities.bytes(memory.optimizer()));
        line("activations", "%12s  estimate, micro-batches in flight", Quantities.bytes(memory.activations()));
        line(
                "workspace",
                "%12s  estimate, GEMM operands of the weights, one layer's gradients",
                Quantities.bytes(memory.workspace()));
        line("total", "%12s", Quantities.bytes(memory.total()));
    }

    private void budget() {
        Budget budget = plan.budget();
        heading("Budget");
        line("steps", "%,d of %,d tokens", budget.steps(), budget.tokensPerStep());
        line("micro-batches", "%d a rank and step", budget.microBatchesPerStep());
        line("tokens", "%s, %s in all", count(budget.tokens()), Quantities.flops(plan.flops()));
        if (budget.epochs() != null && budget.datasetTokens() != null) {
            line("epochs", "%.2f over %s prepared tokens", budget.epochs(), count(budget.datasetTokens()));
        } else {
            line("epochs", "unknown until the data is prepared");
        }
    }

    private void traffic() {
        if (plan.traffic().isEmpty()) {
            return;
        }
        heading("Sent by one rank in a step");
        for (Traffic traffic : plan.traffic()) {
            line(traffic.axis().label(), "%12s  %s", Quantities.bytes(traffic.bytes()), traffic.what());
        }
    }

    private void obstacles() {
        if (plan.obstacles().isEmpty()) {
            return;
        }
        heading("This version can plan but not train this configuration");
        for (Problem problem : plan.obstacles()) {
            out.append("  ").append(problem.toString().replace("\n", "\n  ")).append('\n');
        }
    }

    private static String count(long value) {
        return Quantities.count(value);
    }
}
