package io.fourfold.bench;

import java.util.List;
import java.util.Locale;

/** Results as tables for people. */
public final class BenchText {
    private static final double GIBIBYTE = 1 << 30;
    private static final int TRACED_LINES = 40;

    private BenchText() {}

    /** One line of the table of steps; the first of a table follows {@link #stepHeader}. */
    public static String step(StepResult r) {
        return String.format(
                Locale.ROOT,
                "%-3s %-6s %3d %9.2f %11.0f %9.1f %7s %8.2f %7s %8.2f %8.2f  %7.4f -> %7.4f%s",
                r.shape(),
                r.recipe(),
                r.microBatches(),
                r.milliseconds(),
                r.tokensPerSecond(),
                r.teraflops(),
                share(r.utilization()),
                r.hostMilliseconds(),
                share(r.idleShare()),
                r.peakBytes() / GIBIBYTE,
                r.plannedBytes() / GIBIBYTE,
                r.firstLoss(),
                r.lastLoss(),
                r.steady() ? "" : "  memory grew after the warm-up");
    }

    /** Per cent, or a dash where it is not known. */
    private static String share(double value) {
        return Double.isNaN(value) ? "-" : String.format(Locale.ROOT, "%.1f%%", value * 100);
    }

    public static String stepHeader() {
        return String.format(
                "%-3s %-6s %3s %9s %11s %9s %7s %8s %7s %8s %8s  %s",
                "",
                "recipe",
                "mb",
                "ms",
                "tokens/s",
                "TFLOP/s",
                "MFU",
                "host ms",
                "idle",
                "peak GiB",
                "plan GiB",
                "loss");
    }

    /** Most memory in use by region, GiB; empty where the device does not count. */
    public static String memory(StepResult r) {
        StringBuilder text = new StringBuilder();
        long reserved = 0;
        for (BenchDevice.Memory region : r.memory()) {
            text.append(String.format(
                    Locale.ROOT,
                    "%s %s %.2f",
                    text.isEmpty() ? "   " : ",",
                    region.region().toLowerCase(Locale.ROOT),
                    region.peak() / GIBIBYTE));
            if (region.lent() > 0) {
                text.append(String.format(Locale.ROOT, " (%.2f of it lent)", region.lent() / GIBIBYTE));
            }
            reserved += region.reserved();
        }
        return text.isEmpty()
                ? ""
                : text.append(String.format(Locale.ROOT, "; reserved %.2f", reserved / GIBIBYTE))
                        .toString();
    }

    /** Where the time of a traced step went. */
    public static String details(StepResult r) {
        StringBuilder text = new StringBuilder();
        List<BenchDevice.TracedWork> work = r.work();
        double rest = 0;
        double all = 0;
        int pieces = 0;
        for (int i = 0; i < work.size(); i++) {
            if (i < TRACED_LINES) {
                text.append(String.format(
                        Locale.ROOT,
                        "    %9.3f ms %5d x (longest %8.3f, queued in %7.3f) %s%n",
                        work.get(i).milliseconds(),
                        work.get(i).count(),
                        work.get(i).longest(),
                        work.get(i).longestHost(),
                        work.get(i).name()));
            } else {
                rest += work.get(i).milliseconds();
            }
            all += work.get(i).milliseconds();
            pieces += work.get(i).count();
        }
        if (rest > 0) {
            text.append(String.format(Locale.ROOT, "    %9.3f ms everything else%n", rest));
        }
        if (pieces > 0) {
            text.append(String.format(Locale.ROOT, "    %9.3f ms %5d x in all%n", all, pieces));
        }
        return text.toString();
    }
}
